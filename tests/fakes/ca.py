"""A working CA in memory: real keys and certificates, no database. Fixed start, so certificates are compared by fact."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import Buffer

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityState, SigningAuthority
from ca.bundle import TrustBundle, make_bundle
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.kek import Kek, KeyRing, WrappedKey
from ca.keys import POST_QUANTUM, KeyType, PrivateKey, generate, to_pkcs8_pem
from ca.masked import Masked
from ca.profile import IssuancePolicy, ProfileName
from ca.revocation import Revoked, build_crl
from ca.self_signed import self_signed_authority
from ca.serial import random_serial
from ca.signer import LocalSigner
from ca.svid import X509Svid, parse_svid
from tests.fakes.clock import EPOCH

TRUST_DOMAIN = TrustDomain("example.org")
CLASSICAL = tuple(key_type for key_type in KeyType if key_type not in POST_QUANTUM)
"""What certificates are issued for, and what other programs verify."""


def serial_source() -> int:
    return random_serial(os.urandom)


def make_authority(
    trust_domain: TrustDomain = TRUST_DOMAIN,
    *,
    key_type: KeyType = KeyType.ECDSA_P256,
    key: PrivateKey | None = None,
    now: datetime = EPOCH,
    lifetime: timedelta = timedelta(days=90),
    state: AuthorityState = AuthorityState.ACTIVE,
) -> SigningAuthority:
    """An authority with its key; ACTIVE unless told otherwise."""
    signer = LocalSigner.of(key or generate(key_type))
    authority = self_signed_authority(
        trust_domain,
        signer,
        key_ref="fake:1",
        key_type=key_type,
        serial=serial_source(),
        now=now,
        lifetime=lifetime,
    )
    if state is AuthorityState.ACTIVE:
        authority = authority.activated(now)
    return SigningAuthority.open(authority, signer)


def make_issuer(policy: IssuancePolicy | None = None) -> Issuer:
    return Issuer(policy or IssuancePolicy(), serial_source)


def make_bundle_of(*authorities: SigningAuthority, sequence: int = 1) -> TrustBundle:
    first = authorities[0].authority.trust_domain
    return make_bundle(first, [a.authority.certificate for a in authorities], sequence)


def make_crl(authority: SigningAuthority, *serials: str, number: int = 1) -> bytes:
    """The authority's CRL with these serials (hex), DER; it holds from the authority's own beginning."""
    start = authority.authority.not_before
    return build_crl(authority, [Revoked(serial, start) for serial in serials], number=number, now=start)


@dataclass(frozen=True, slots=True)
class Holder:
    """An SVID together with its key, as a workload holds it."""

    issued: IssuedCertificate
    svid: X509Svid
    key: PrivateKey

    @property
    def chain_pem(self) -> bytes:
        return self.svid.pem()

    @property
    def key_pem(self) -> Masked[bytes]:
        return to_pkcs8_pem(self.key)


def issue_one(
    request: IssueRequest, authority: SigningAuthority, now: datetime = EPOCH, issuer: Issuer | None = None
) -> IssuedCertificate:
    """Prepare and issue at once; raises the CaError that stands in the way."""
    issuer = issuer or make_issuer()
    (prepared,) = issuer.prepare([request], authority, now)
    if not isinstance(prepared, Prepared):
        raise prepared
    (issued,) = issuer.issue([prepared])
    if not isinstance(issued, IssuedCertificate):
        raise issued
    return issued


def make_svid(
    spiffe_id: str = "spiffe://example.org/web",
    authority: SigningAuthority | None = None,
    *,
    profile: ProfileName = ProfileName.WORKLOAD,
    key_type: KeyType = KeyType.ECDSA_P256,
    dns_names: Sequence[str] = (),
    ttl: timedelta | None = None,
    now: datetime = EPOCH,
) -> Holder:
    """An SVID with a fresh key; under a fresh authority unless one is given."""
    identity = SpiffeId.parse(spiffe_id)
    authority = authority or make_authority(identity.trust_domain, now=now)
    key = generate(key_type)
    request = IssueRequest(profile, identity, VerifiedCsr.of_own_key(key), tuple(dns_names), ttl)
    issued = issue_one(request, authority, now)
    return Holder(issued, parse_svid(issued.chain), key)


class RemoteKey(ec.EllipticCurvePrivateKey):
    """Stands in for a P-256 key that never leaves its token: it has the library's interface and signs elsewhere."""

    def __init__(self, key: PrivateKey) -> None:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._elsewhere = key
        self.signatures = 0
        self.broken = False

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        if self.broken:
            raise AuthorityUnavailable("the token does not answer")
        self.signatures += 1
        return self._elsewhere.sign(data, signature_algorithm)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._elsewhere.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._elsewhere.curve

    @property
    def key_size(self) -> int:
        return self._elsewhere.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError

    def private_bytes(self, *_: object) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> RemoteKey:
        return self

    def __deepcopy__(self, memo: object) -> RemoteKey:
        return self


def make_authority_record(**changes: object) -> Authority:
    """Only the facts of an authority, for stores and registries."""
    return make_authority(**changes).authority  # type: ignore[arg-type]


def make_key_ring(seed: int = 1) -> KeyRing:
    """A key ring with a known key; never for anything but tests."""
    return KeyRing(Kek.of(Masked(bytes([seed]) * 32)))


class FakeWrappedKeyStore:
    """Implements ca.key_managers.wrapped.WrappedKeyStore in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, WrappedKey] = {}

    async def put(self, key: WrappedKey) -> None:
        if key.label.key_id in self.rows:
            raise ValueError("the key id is taken")
        self.rows[key.label.key_id] = key

    async def get(self, key_id: str) -> WrappedKey | None:
        return self.rows.get(key_id)

    async def remove(self, key_id: str) -> None:
        self.rows.pop(key_id, None)
