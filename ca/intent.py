"""What is asked for, what is meant to be signed, and what was signed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from attestation.spiffe_id import SpiffeId
from ca.csr import VerifiedCsr
from ca.profile import ProfileName


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """One leaf to issue. `ttl` None means the profile's default. The identity has been attested before."""

    profile: ProfileName
    spiffe_id: SpiffeId
    csr: VerifiedCsr
    dns_names: tuple[str, ...] = ()
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class CertificateIntent:
    """The facts of a certificate, durable before the key is used. `serial` is ca.serial.serial_hex's form, `key_hash`
    SHA-256 of the SubjectPublicKeyInfo in hex; times are aware UTC in whole seconds.
    """

    serial: str
    spiffe_id: SpiffeId
    profile: ProfileName
    key_hash: str
    not_before: datetime
    not_after: datetime
    authority_id: str
    dns_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A finished leaf. `der` is the leaf alone, `chain` the leaf and any intermediates, without the root; DER."""

    intent: CertificateIntent
    der: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
