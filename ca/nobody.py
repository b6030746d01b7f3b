"""An authority that vouches for nobody: its certificate is there, its key is not.

Who may trust a trust domain no longer must be told so, and a validation context can't say "nobody": without any
authority it would check nothing at all. One whose key is gone says it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from attestation.spiffe_id import TrustDomain
from ca.bundle import to_pem
from ca.keys import KeyType, generate
from ca.self_signed import self_signed_authority
from ca.signer import LocalSigner

NOBODY = TrustDomain("nobody.invalid")  # RFC 6761 6.4: a name that nobody can have
_LIFETIME = timedelta(days=3650)


def pem_of_nobody(now: datetime, serial: int) -> bytes:
    """The certificate of a new authority, PEM. Its key is made here, signs this one thing and is forgotten."""
    made = self_signed_authority(
        NOBODY,
        LocalSigner.of(generate(KeyType.ECDSA_P256)),
        key_ref="",
        key_type=KeyType.ECDSA_P256,
        serial=serial,
        now=now,
        lifetime=_LIFETIME,
    )
    return to_pem(made.certificate)
