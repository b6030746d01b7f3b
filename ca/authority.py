"""Authorities: the keys that sign, as facts. The key itself is behind a Signer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, spki_der
from ca.lifetime import Validity
from ca.signer import Signer


class AuthorityKind(StrEnum):
    """What an authority signs."""

    X509 = "x509"
    JWT = "jwt"


class AuthorityState(StrEnum):
    """The life of an authority: published but not used, used, published only until its last certificate is gone."""

    PREPARED = "prepared"
    ACTIVE = "active"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Authority:
    """One authority of a trust domain, as it is stored.

    `id` is the hex of the subject key identifier. `certificate` is DER and empty for a JWT authority; `public_key` is a
    DER SubjectPublicKeyInfo. `key_ref` means something only to the key manager that made it. `chain` holds the
    certificates (DER) that are sent after each leaf: this authority's own and those between it and `roots`, or one that
    an older authority signed for it. `roots` (DER) are what verifiers have to trust where that is not `certificate`
    itself. `published_sequence` is the first sequence of the trust bundle that has them; the store sets it.
    """

    id: str
    trust_domain: TrustDomain
    kind: AuthorityKind
    state: AuthorityState
    key_ref: str
    key_type: KeyType
    public_key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    created_at: datetime
    activated_at: datetime | None = None
    tainted: bool = False
    revoked: bool = False
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    roots: tuple[bytes, ...] = field(default=(), repr=False)
    upstream: str = "self_signed"
    retired_at: datetime | None = None
    published_sequence: int = 0

    @property
    def validity(self) -> Validity:
        return Validity(self.not_before, self.not_after)

    @property
    def bundle_certificates(self) -> tuple[bytes, ...]:
        """What stands for this authority in the trust bundle, DER; nothing for one that signs no certificates."""
        if self.kind is not AuthorityKind.X509:
            return ()
        return self.roots or (self.certificate,)

    def published(self, now: datetime) -> bool:
        """Whether the authority belongs in the trust bundle: neither revoked nor expired."""
        return not self.revoked and now <= self.not_after

    def usable(self, now: datetime) -> bool:
        """Whether it may sign now: active, sound and within its validity."""
        return self.state is AuthorityState.ACTIVE and not (self.tainted or self.revoked) and self.validity.covers(now)

    def activated(self, now: datetime) -> Authority:
        """The same authority, active from now."""
        return replace(self, state=AuthorityState.ACTIVE, activated_at=now)


@dataclass(frozen=True, slots=True)
class SigningAuthority:
    """An X.509 authority together with its key; made by `open`, which proves that the two belong together."""

    authority: Authority
    certificate: x509.Certificate
    signer: Signer
    subject: bytes = field(repr=False)
    """The certificate's subject, DER: the issuer of its leaves."""

    @classmethod
    def open(cls, authority: Authority, signer: Signer) -> SigningAuthority:
        """Raises AuthorityUnavailable if it signs no certificates, cannot be read, or `signer` holds another key."""
        if authority.kind is not AuthorityKind.X509:
            raise AuthorityUnavailable(f"authority {authority.id} signs no certificates")
        try:
            certificate = x509.load_der_x509_certificate(authority.certificate)
            certified = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except ValueError as error:
            raise AuthorityUnavailable(f"the certificate of authority {authority.id} cannot be read") from error
        if not spki_der(signer.public_key) == authority.public_key == certified:
            raise AuthorityUnavailable(f"the key manager holds another key than authority {authority.id}'s")
        return cls(authority, certificate, signer, certificate.subject.public_bytes())
