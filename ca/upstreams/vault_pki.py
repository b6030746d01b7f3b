"""Under the authority of a PKI secrets engine of Vault (plugin `vault_pki`).

What the engine holds and answers is judged here; Vault is spoken to elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import TrustDomain
from ca.chains.certificate import authority_certificate
from ca.chains.checks import MAX_CHAIN, MAX_ROOTS, check_minted
from ca.chains.constraints import violation
from ca.chains.path import find_path
from ca.chains.request import authority_request
from ca.errors import AuthorityUnavailable, CertificateMismatch, InvalidPath
from ca.keys import KeyType, generate, spki_der
from ca.lifetime import Validity, clamp
from ca.signer import LocalSigner, Signer
from ca.template import authority_subject, sign_all, subject_key_id
from ca.upstream import Minted
from ca.upstreams.issuing import MINIMUM, path_length_below

NAME = "vault_pki"
MARGIN = timedelta(seconds=30)
"""What we ask for ends so long before the issuer does: Vault counts by a clock of its own."""
SKEW = timedelta(minutes=5)
"""How far Vault's clock may be ahead before what it signs counts as longer than asked."""
MAX_CERTIFICATES = MAX_CHAIN + MAX_ROOTS


@dataclass(frozen=True, slots=True)
class Engine:
    """What the engine shows, DER: the issuer, those that it says are above it, and all that stand for themselves."""

    unverified_issuer: bytes = field(repr=False)
    unverified_above: tuple[bytes, ...] = field(repr=False)
    unverified_roots: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PkiIssuer:
    """A judged issuer: the path from its certificate to a root, both included, and the roots (DER) that are published.

    `validity` is for which all of the path is valid; `path_length` is how many authorities it allows below each other.
    """

    path: tuple[x509.Certificate, ...] = field(repr=False)
    roots: tuple[bytes, ...] = field(repr=False)
    validity: Validity
    path_length: int | None


@dataclass(frozen=True, slots=True)
class Order:
    """A request to `root/sign-intermediate`. `csr` is PEM; its subject and alternative name are to be used."""

    csr: str = field(repr=False)
    key_id: str
    """The subject key identifier (hex) by which our records name the authority."""
    ttl: timedelta
    backdate: timedelta


class PkiMount(Protocol):
    """The engine, looked at now and then."""

    def check(self) -> None:
        """Raises AuthorityUnavailable while it is known to be away, or of no use."""
        ...

    async def look(self) -> PkiIssuer:
        """What it is now. Raises AuthorityUnavailable."""
        ...

    async def sign(self, order: Order) -> tuple[bytes, ...]:
        """The certificate, then all that came with it, DER, not judged. Raises AuthorityUnavailable."""
        ...


class VaultPkiUpstream:
    """Implements ca.upstream.UpstreamAuthority."""

    name = NAME

    def __init__(self, mount: PkiMount, backdate: timedelta) -> None:
        self._mount = mount
        self._backdate = backdate

    def check(self) -> None:
        self._mount.check()

    async def mint(
        self, key: Signer, key_type: KeyType, trust_domain: TrustDomain, lifetime: timedelta, now: datetime
    ) -> Minted:
        del key_type  # the key says
        issuer = await self._mount.look()
        validity = clamp(now, lifetime, issuer.validity, backdate=self._backdate, margin=MARGIN, minimum=MINIMUM)
        answer = await self._mount.sign(await asyncio.to_thread(_order, key, trust_domain, validity, now))
        try:
            minted = _read(answer, issuer, min(validity.not_after + SKEW, issuer.validity.not_after))
            check_minted(minted, key.public_key, trust_domain, now)
        except CertificateMismatch as error:
            raise AuthorityUnavailable(f"what Vault has signed cannot be used: {error}") from error
        return minted


def judge(engine: Engine, trust_domain: TrustDomain, now: datetime) -> PkiIssuer:
    """Whether an authority of this trust domain can stand below the engine's issuer. Raises AuthorityUnavailable.

    1. Its certificates can be read, and are not too many. 2. The issuer leads to a root that is published, now; each of
    the path may sign certificates. 3. It allows at least one level of authorities below it (RFC 5280 4.2.1.9).
    4. No name constraint on the way excludes our authorities' names (4.2.1.10).
    """
    if len(engine.unverified_above) > MAX_CERTIFICATES or len(engine.unverified_roots) > MAX_ROOTS:  # 1
        raise AuthorityUnavailable("the PKI engine has too many certificates")
    roots = _load(engine.unverified_roots, "a root")
    if not roots:
        raise AuthorityUnavailable(
            "the PKI engine has no root certificate: import it there, or name a bundle file that holds it"
        )
    (issuer,) = _load([engine.unverified_issuer], "the issuer's certificate")
    try:
        chain = _ordered(issuer, _load(engine.unverified_above, "a certificate above the issuer"), roots)
        path = find_path(chain, roots, now, issuing=True)  # 2
    except InvalidPath as error:
        raise AuthorityUnavailable(f"the PKI engine's issuer does not lead to a root: {error}") from error
    length = path_length_below(path)
    if length is not None and length < 1:  # 3
        raise AuthorityUnavailable("the PKI engine's issuer allows no authority below it (path length)")
    _check_names(path, trust_domain, now)  # 4
    validity = Validity(max(one.not_valid_before_utc for one in path), min(one.not_valid_after_utc for one in path))
    return PkiIssuer(path, tuple(map(_der, roots)), validity, length)


def is_root(unverified_der: bytes) -> bool:
    """Whether a certificate stands for itself: it is signed by its own key, and names itself."""
    try:
        certificate = x509.load_der_x509_certificate(unverified_der)
        return certificate.subject == certificate.issuer and _signed_by(certificate, certificate)
    except Exception:  # noqa: BLE001  # whatever a parser throws at foreign bytes is a refusal
        return False


def _order(key: Signer, trust_domain: TrustDomain, validity: Validity, now: datetime) -> Order:
    """Blocks on a remote key."""
    key_id = subject_key_id(spki_der(key.public_key)).hex()
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(trust_domain.id))])
    request = authority_request(key, authority_subject(trust_domain, key_id), [name])
    pem = x509.load_der_x509_csr(request).public_bytes(Encoding.PEM).decode()
    return Order(pem, key_id, validity.not_after - now, now - validity.not_before)


def _read(answer: Sequence[bytes], issuer: PkiIssuer, latest: datetime) -> Minted:
    """Raises CertificateMismatch, also if it is valid for longer than was asked, or than what is above it."""
    try:
        certificate, *came_along = (x509.load_der_x509_certificate(der) for der in answer[:MAX_CERTIFICATES])
        roots = [x509.load_der_x509_certificate(der) for der in issuer.roots]
        chain = _ordered(certificate, [*came_along, *issuer.path], roots)
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise CertificateMismatch("a certificate cannot be read") from error
    if certificate.not_valid_after_utc > latest:
        raise CertificateMismatch("it is valid for longer than was asked, or than its issuer: compare the clocks")
    times = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Minted(_der(certificate), tuple(map(_der, chain)), issuer.roots, *times)


def _ordered(
    first: x509.Certificate, pool: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """From `first` up, as far as `pool` leads, without the root: Vault's lists have other branches in them, too."""
    chain = [first]
    while len(chain) <= MAX_CHAIN and not any(_signed_by(chain[-1], root) for root in roots):
        above = next((one for one in pool if one not in chain and _signed_by(chain[-1], one)), None)
        if above is None:
            break
        chain.append(above)
    return chain


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def _check_names(path: Sequence[x509.Certificate], trust_domain: TrustDomain, now: datetime) -> None:
    """Raises AuthorityUnavailable. A specimen that nobody trusts shows it before an authority is due."""
    found = [one.extensions.get_extension_for_class(x509.NameConstraints).value for one in path if _constrained(one)]
    if not found:
        return
    key = LocalSigner.of(generate(KeyType.ECDSA_P256))
    unsigned = authority_certificate(trust_domain, key.public_key, 1, Validity(now, now + MINIMUM))
    specimen = x509.load_der_x509_certificate(sign_all([unsigned], key)[0])
    for constraints in found:
        problem = violation(specimen, constraints)
        if problem:
            raise AuthorityUnavailable(f"the PKI engine's issuer may not name our authorities: {problem}")


def _constrained(certificate: x509.Certificate) -> bool:
    return any(extension.oid == x509.NameConstraints.oid for extension in certificate.extensions)


def _load(ders: Sequence[bytes], what: str) -> list[x509.Certificate]:
    """Each once. Raises AuthorityUnavailable."""
    try:
        found = [x509.load_der_x509_certificate(der) for der in ders]
        for certificate in found:
            _ = certificate.subject, certificate.issuer, list(certificate.extensions)
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise AuthorityUnavailable(f"{what} in the PKI engine cannot be read") from error
    return list(dict.fromkeys(found))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
