"""What is asked for, what is meant to be signed, and what was signed.

Named tuples, because they are made for every certificate: as immutable as a frozen dataclass, in a quarter of its time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from attestation.spiffe_id import SpiffeId
from ca.csr import VerifiedCsr


class IssueRequest(NamedTuple):
    """One leaf to issue. The identity has been attested before. `ttl` None means the profile's default; `extra_sans`
    and `subject` are as in attestation.entry.EntrySpec.
    """

    profile: str
    spiffe_id: SpiffeId
    csr: VerifiedCsr
    dns_names: tuple[str, ...] = ()
    ttl: timedelta | None = None
    extra_sans: tuple[str, ...] = ()
    subject: str = ""


class CertificateIntent(NamedTuple):
    """The facts of a certificate, durable before the key is used. `serial` is ca.serial.serial_hex's form, `key_hash`
    SHA-256 of the SubjectPublicKeyInfo in hex; times are aware UTC in whole seconds.
    """

    serial: str
    spiffe_id: SpiffeId
    profile: str
    key_hash: str
    not_before: datetime
    not_after: datetime
    authority_id: str
    dns_names: tuple[str, ...]
    extra_sans: tuple[str, ...] = ()
    subject: str = ""


class IssuedCertificate(NamedTuple):
    """A finished leaf. `der` is the leaf alone, `chain` the leaf and any intermediates, without the root; DER."""

    intent: CertificateIntent
    der: bytes
    chain: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"IssuedCertificate({self.intent!r})"
