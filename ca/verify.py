"""Verifies X.509-SVIDs against a trust bundle (RFC 5280 section 6, X509-SVID section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ca.bundle import TrustBundle
from ca.chains.path import find_path
from ca.errors import InvalidPath, InvalidSvid
from ca.keys import MlDsaPublicKey
from ca.svid import X509Svid

_KNOWN_TO_THE_LIBRARY = (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, MlDsaPublicKey)


def verify_svid(svid: X509Svid, bundle: TrustBundle, now: datetime) -> None:
    """Whether `svid` leads to an authority of `bundle` at `now`. Raises InvalidSvid.

    1. It belongs to the bundle's trust domain (Trust Domain and Bundle section 3: never another domain's keys).
    2. The bundle has an authority.
    3. The path is valid by cryptography's verifier; or by our own (ca.chains.path) where that one refuses for what it
       does not know: authorities with Ed25519 keys, and name constraints on URIs.

    That the leaf is a leaf was checked when it was read (ca.svid.parse_svid).
    """
    if not svid.spiffe_id.member_of(bundle.trust_domain):  # 1
        raise InvalidSvid(f"{svid.spiffe_id} is not of the trust domain {bundle.trust_domain}")
    if not bundle.x509_authorities:  # 2
        raise InvalidSvid(f"the bundle of {bundle.trust_domain} has no authority")
    try:
        leaf, *intermediates = map(x509.load_der_x509_certificate, svid.chain)
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidSvid("an intermediate certificate cannot be read") from error
    authorities = [x509.load_der_x509_certificate(der) for der in bundle.x509_authorities]
    verifier = PolicyBuilder().store(Store(authorities)).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, intermediates)  # 3
    except VerificationError as error:
        if not _beyond_the_library([*intermediates, *authorities]):
            raise InvalidSvid(f"the SVID does not verify against the bundle: {error}") from error
    else:
        return
    try:
        find_path([leaf, *intermediates], authorities, now)
    except InvalidPath as error:
        raise InvalidSvid(f"the SVID does not verify against the bundle: {error}") from error


def _beyond_the_library(authorities: Sequence[x509.Certificate]) -> bool:
    return any(map(_unknown_to_the_library, authorities))


def _unknown_to_the_library(authority: x509.Certificate) -> bool:
    try:
        if not isinstance(authority.public_key(), _KNOWN_TO_THE_LIBRARY):
            return True
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except Exception:  # noqa: BLE001  # no constraints, or something that no parser reads: it has judged that
        return False
    named = [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]
    return any(isinstance(name, x509.UniformResourceIdentifier) for name in named)
