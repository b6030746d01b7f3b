"""Verifies X.509-SVIDs against a trust bundle (RFC 5280 section 6, X509-SVID section 5)."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ca.bundle import TrustBundle
from ca.errors import InvalidSvid
from ca.svid import X509Svid


def verify_svid(svid: X509Svid, bundle: TrustBundle, now: datetime) -> None:
    """Whether `svid` leads to an authority of `bundle` at `now`. Raises InvalidSvid.

    1. It belongs to the bundle's trust domain (Trust Domain and Bundle section 3: never another domain's keys).
    2. The bundle has an authority.
    3. The path is valid by cryptography's verifier; or, because that one knows no Ed25519 authorities, the leaf is
       signed directly by an Ed25519 authority of the bundle and both are within their validity.

    That the leaf is a leaf was checked when it was read (ca.svid.parse_svid).
    """
    if not svid.spiffe_id.member_of(bundle.trust_domain):  # 1
        raise InvalidSvid(f"{svid.spiffe_id} is not of the trust domain {bundle.trust_domain}")
    if not bundle.x509_authorities:  # 2
        raise InvalidSvid(f"the bundle of {bundle.trust_domain} has no authority")
    leaf, *intermediates = map(x509.load_der_x509_certificate, svid.chain)
    authorities = [x509.load_der_x509_certificate(der) for der in bundle.x509_authorities]
    if any(_issued_by_ed25519(leaf, authority, now) for authority in authorities):  # 3
        return
    verifier = PolicyBuilder().store(Store(authorities)).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, intermediates)
    except VerificationError as error:
        raise InvalidSvid(f"the SVID does not verify against the bundle: {error}") from error


def _issued_by_ed25519(leaf: x509.Certificate, authority: x509.Certificate, now: datetime) -> bool:
    """The bundle's certificates are signing certificates (ca.bundle.make_bundle)."""
    if not isinstance(authority.public_key(), ed25519.Ed25519PublicKey):
        return False
    try:
        leaf.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return all(
        certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc for certificate in (leaf, authority)
    )
