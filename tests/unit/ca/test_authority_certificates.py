"""Every certificate that may sign others, however it was made, against the clauses of X509-SVID and RFC 5280."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.bundle import make_bundle
from ca.chains.certificate import IssuerFacts, certificate_below
from ca.chains.checks import check_signing_certificate
from ca.chains.cross_sign import cross_signed_chain
from ca.errors import InvalidSvid
from ca.keys import KeyType, PrivateKey, generate
from ca.lifetime import Validity
from ca.svid import parse_svid
from ca.template import sign_all, subject_key_id
from tests.fakes.ca import make_authority, serial_source
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
DER_SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
MAKERS = ("self-signed", "intermediate", "intermediate of depth 0", "cross-signed")


@pytest.fixture(scope="module", params=KeyType)
def authority(request: pytest.FixtureRequest, keys: Mapping[KeyType, PrivateKey]) -> SigningAuthority:
    return make_authority(TD, key=keys[request.param], key_type=request.param)


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest, authority: SigningAuthority) -> tuple[x509.Certificate, x509.Certificate]:
    """A signing certificate and its issuer's."""
    match request.param:
        case "self-signed":
            return authority.certificate, authority.certificate
        case "cross-signed":
            (der, *_) = cross_signed_chain(make_authority(TD).authority, authority, serial_source(), EPOCH)
        case kind:
            unsigned = certificate_below(
                IssuerFacts.of(authority.certificate, authority.signer.public_key),
                TD,
                generate(KeyType.ECDSA_P256).public_key(),
                serial_source(),
                Validity(EPOCH, EPOCH + timedelta(days=1)),
                path_length=0 if kind.endswith("0") else None,
            )
            (der,) = sign_all([unsigned], authority.signer)
    return x509.load_der_x509_certificate(der), authority.certificate


def test_its_one_uri_is_the_trust_domain_without_a_path(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    """X509-SVID 2 and 3.2: exactly one URI; a signing certificate's SPIFFE ID has no path."""
    names = made[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.UniformResourceIdentifier("spiffe://example.org")]
    assert SpiffeId.parse("spiffe://example.org").path == ""


def test_it_is_an_authority(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    """X509-SVID 4.1: cA is set, and path length constraints may be (RFC 5280 4.2.1.9: critical)."""
    constraints = made[0].extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (True, True)


def test_it_signs_certificates_and_lists_and_nothing_else(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    """X509-SVID 4.3: keyCertSign, critical; what is for leaves (signatures, encipherment, agreement) is not set."""
    usage = made[0].extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(False, False, False, False, False, True, True, False, False)


def test_it_is_limited_to_no_purpose(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    """X509-SVID 4.4 speaks of leaves; one here would bind everything below (CA/Browser Forum 7.1.2.10.6)."""
    with pytest.raises(x509.ExtensionNotFound):
        made[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_it_has_a_subject_and_names_its_issuer(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    """RFC 5280 4.1.2.4, 4.1.2.6, 4.2.1.1, 4.2.1.2."""
    certificate, issuer = made
    assert len(certificate.subject.rdns) == 2
    assert certificate.issuer == issuer.subject
    get = certificate.extensions.get_extension_for_class
    spki = certificate.public_key().public_bytes(*DER_SPKI)
    assert get(x509.SubjectKeyIdentifier).value.digest == subject_key_id(spki)
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert get(x509.AuthorityKeyIdentifier).value == x509.AuthorityKeyIdentifier(issuer_id, None, None)
    certificate.verify_directly_issued_by(issuer)


def test_it_is_of_version_3_with_a_positive_serial_within_its_time(
    made: tuple[x509.Certificate, x509.Certificate],
) -> None:
    """RFC 5280 4.1.2.1, 4.1.2.2, 4.1.2.5."""
    certificate, issuer = made
    assert certificate.version is x509.Version.v3
    assert 0 < certificate.serial_number < 1 << 159
    assert issuer.not_valid_before_utc <= certificate.not_valid_before_utc < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc <= issuer.not_valid_after_utc
    assert certificate.not_valid_after_utc.microsecond == 0


def test_it_has_no_extension_that_nobody_asked_for(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    assert [(extension.oid, extension.critical) for extension in made[0].extensions] == [
        (x509.BasicConstraints.oid, True),
        (x509.KeyUsage.oid, True),
        (x509.SubjectKeyIdentifier.oid, False),
        (x509.AuthorityKeyIdentifier.oid, False),
        (x509.SubjectAlternativeName.oid, False),
    ]


def test_our_own_judges_take_it_for_what_it_is(made: tuple[x509.Certificate, x509.Certificate]) -> None:
    """As an authority in a bundle and for issuing, and never as an SVID (X509-SVID 5.2)."""
    der = made[0].public_bytes(DER_SPKI[0])
    make_bundle(TD, [der])
    check_signing_certificate(der, made[0].public_key(), TD)  # type: ignore[arg-type]
    with pytest.raises(InvalidSvid, match="signing certificate"):
        parse_svid([der])
