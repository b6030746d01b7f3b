"""Under another sds server of the same trust domain (plugin `sds`). The connection to it is made elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509

from attestation.spiffe_id import TrustDomain
from ca.chains.checks import check_minted
from ca.chains.request import authority_request
from ca.errors import AuthorityUnavailable, CertificateMismatch
from ca.keys import KeyType
from ca.signer import Signer
from ca.upstream import Minted

NAME = "sds"
SKEW = timedelta(minutes=5)
"""How far the upstream's clock may be ahead before what it signs counts as longer than asked."""


@dataclass(frozen=True, slots=True)
class Intermediate:
    """An upstream server's answer, DER: the signing certificate and those above it without the root, and the roots."""

    unverified_chain: tuple[bytes, ...] = field(repr=False)
    unverified_roots: tuple[bytes, ...] = field(repr=False)


class IntermediateSource(Protocol):
    """The upstream server."""

    def check(self) -> None:
        """Raises AuthorityUnavailable while it is known to be away."""
        ...

    async def sign(self, csr: bytes, lifetime: timedelta) -> Intermediate:
        """A signing certificate for the key of `csr` (DER, PKCS #10). Raises AuthorityUnavailable."""
        ...


class NestedUpstream:
    """Implements ca.upstream.UpstreamAuthority."""

    name = NAME

    def __init__(self, server: IntermediateSource) -> None:
        self._server = server

    def check(self) -> None:
        self._server.check()

    async def mint(
        self, key: Signer, key_type: KeyType, trust_domain: TrustDomain, lifetime: timedelta, now: datetime
    ) -> Minted:
        del key_type  # the key says
        answer = await self._server.sign(await asyncio.to_thread(authority_request, key), lifetime)
        try:
            minted = _read(answer, now + lifetime + SKEW)
            check_minted(minted, key.public_key, trust_domain, now)
        except CertificateMismatch as error:
            raise AuthorityUnavailable(f"the upstream server's answer cannot be used: {error}") from error
        return minted


def _read(answer: Intermediate, latest: datetime) -> Minted:
    """Raises CertificateMismatch, also if it is valid for longer than was asked."""
    if not answer.unverified_chain or not answer.unverified_roots:
        raise CertificateMismatch("it has no certificate, or no root")
    try:
        certificate = x509.load_der_x509_certificate(answer.unverified_chain[0])
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise CertificateMismatch("the signing certificate cannot be read") from error
    if certificate.not_valid_after_utc > latest:
        raise CertificateMismatch("the signing certificate is valid for longer than was asked")
    return Minted(
        answer.unverified_chain[0],
        answer.unverified_chain,
        answer.unverified_roots,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
