"""What the agent itself is: its own X.509-SVID with its key, and the bundle that it trusts its server by.

All three lie in one file, so that a crash can never leave a key beside another key's certificate.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, make_bundle
from ca.errors import CaError
from ca.keys import from_pkcs8_pem, key_hash
from ca.masked import Masked
from ca.svid import X509Svid, parse_svid
from ca.verify import verify_svid
from sds.agent.errors import IdentityUnusable

FORMAT = 1


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """An SVID, its private key (PKCS #8, PEM) and the trust domain's bundle."""

    svid: X509Svid
    private_key_pem: Masked[bytes]
    bundle: TrustBundle

    def __post_init__(self) -> None:
        """Raises IdentityUnusable if the parts don't belong together."""
        try:
            key = from_pkcs8_pem(self.private_key_pem)
        except ValueError:
            raise IdentityUnusable("the private key cannot be read") from None
        if key_hash(key.public_key()) != self.svid.key_hash:
            raise IdentityUnusable("the private key is not that of the certificate")
        if not self.svid.spiffe_id.member_of(self.bundle.trust_domain):
            raise IdentityUnusable("the certificate and the bundle are of different trust domains")
        if not self.bundle.x509_authorities:
            raise IdentityUnusable("the bundle has no authority")

    def expired(self, now: datetime) -> bool:
        return now >= self.svid.not_after

    def trusted(self, now: datetime) -> bool:
        """Whether the SVID leads to an authority of the bundle."""
        try:
            verify_svid(self.svid, self.bundle, now)
        except CaError:
            return False
        return True


def encode(identity: AgentIdentity) -> Masked[bytes]:
    """The file's content. It holds the private key in clear, hence the mask."""
    document = {
        "format": FORMAT,
        "certificate_chain": [_to_text(der) for der in identity.svid.chain],
        "private_key": identity.private_key_pem.reveal().decode("ascii"),
        "bundle": {
            "trust_domain": identity.bundle.trust_domain.name,
            "x509_authorities": [_to_text(der) for der in identity.bundle.x509_authorities],
            "sequence": identity.bundle.sequence,
            "refresh_hint_seconds": identity.bundle.refresh_hint.total_seconds(),
        },
    }
    return Masked(json.dumps(document, indent=1).encode() + b"\n")


def decode(unverified: Masked[bytes]) -> AgentIdentity:
    """Read what `encode` wrote. Raises IdentityUnusable, which never shows the content."""
    try:
        document: Any = json.loads(unverified.reveal())
        if document["format"] != FORMAT:
            raise IdentityUnusable("it is of another version of this program")
        bundle = document["bundle"]
        return AgentIdentity(
            svid=parse_svid([_from_text(text) for text in document["certificate_chain"]]),
            private_key_pem=Masked(document["private_key"].encode("ascii")),
            bundle=make_bundle(
                TrustDomain(bundle["trust_domain"]),
                [_from_text(text) for text in bundle["x509_authorities"]],
                int(bundle["sequence"]),
                timedelta(seconds=float(bundle["refresh_hint_seconds"])),
            ),
        )
    except (CaError, InvalidSpiffeId) as error:
        raise IdentityUnusable(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise IdentityUnusable("it is not what the agent wrote") from None


def _to_text(der: bytes) -> str:
    return base64.b64encode(der).decode("ascii")


def _from_text(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
