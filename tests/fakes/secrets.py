"""Views and resources for tests of delivery: right in form, and the version tells the generation."""

from __future__ import annotations

from datetime import UTC, datetime

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.masked import Masked
from sds.delivery.resource import TlsCertificate
from sds.delivery.view import DomainBundle, Identity, Trust, View

DOMAIN = TrustDomain("example.org")
WEB = SpiffeId.parse("spiffe://example.org/web")
DB = SpiffeId.parse("spiffe://example.org/db")
CANARY_KEY = b"-----BEGIN PRIVATE KEY-----\ncanary-of-the-key-%d\n-----END PRIVATE KEY-----\n"


def certificate(generation: int = 1, label: str = "web", padding: int = 0) -> TlsCertificate:
    body = b"%b-%d%b" % (label.encode(), generation, b"." * padding)
    return TlsCertificate(
        chain_pem=b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % body,
        private_key_pem=Masked(CANARY_KEY % generation),
        serial=f"{generation:x}",
        not_after=datetime(2026, 1, 2, tzinfo=UTC),
    )


def identity(spiffe_id: SpiffeId = WEB, generation: int = 1, padding: int = 0) -> Identity:
    return Identity(spiffe_id, certificate(generation, spiffe_id.path, padding))


def bundle(generation: int = 1, domain: TrustDomain = DOMAIN, *, crl: int = 0, sequence: int = 0) -> DomainBundle:
    """Authorities of this generation with CRLs of generation `crl`, 0: none; and the bundle's own number."""
    pem = b"-----BEGIN CERTIFICATE-----\n%b-%d\n" % (domain.name.encode(), generation)
    crl_pem = b"-----BEGIN X509 CRL-----\n%b-%d\n" % (domain.name.encode(), crl) if crl else b""
    return DomainBundle(domain, pem, crl_pem, sequence)


def trust(generation: int = 1, *federated: DomainBundle, crl: int = 0, sequence: int = 0) -> Trust:
    return Trust.build(bundle(generation, crl=crl, sequence=sequence), federated)


def view(
    cert: int = 1,
    ca: int = 1,
    *,
    ids: tuple[SpiffeId, ...] = (WEB,),
    padding: int = 0,
    crl: int = 0,
    sequence: int = 0,
) -> View:
    """A caller with `ids`, whose certificates are of generation `cert` and whose bundle is of generation `ca`.

    `padding` makes each certificate that many bytes larger; `crl` and `sequence` are those of `bundle`.
    """
    identities = [identity(spiffe_id, cert, padding) for spiffe_id in ids]
    return View.build(identities, trust(ca, crl=crl, sequence=sequence))
