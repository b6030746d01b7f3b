"""The trial of an authority before it may sign: its record, its certificate and its key agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import TrustDomain
from ca.authority import SigningAuthority
from ca.checks import check_authority
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, PrivateKey, generate
from ca.signer import LocalSigner
from tests.fakes.ca import CLASSICAL, make_authority, serial_source
from tests.fakes.clock import EPOCH
from tests.unit.ca.checks.kit import AUTHORITY, NAMES, naive, usage


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_every_kind_of_authority_passes_its_trial(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    authority = make_authority(key=keys[key_type], key_type=key_type)
    check_authority(authority, EPOCH + timedelta(milliseconds=1500), serial_source())
    with pytest.raises(AuthorityUnavailable):
        check_authority(authority, authority.authority.not_after + timedelta(seconds=1), serial_source())


def test_an_authority_out_of_its_time_fails_its_trial() -> None:
    for offset in (timedelta(days=91), timedelta(days=-1)):
        with pytest.raises(AuthorityUnavailable):
            check_authority(AUTHORITY, EPOCH + offset, 1)


def bent(**changes: object) -> SigningAuthority:
    return SigningAuthority.open(replace(AUTHORITY.authority, **changes), AUTHORITY.signer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "00" * 20},
        {"not_after": EPOCH + timedelta(days=1000)},
        {"not_before": EPOCH - timedelta(days=1000)},
        {"trust_domain": TrustDomain("example.com")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_record_that_differs_from_the_certificate_fails(changes: Mapping[str, object]) -> None:
    with pytest.raises(AuthorityUnavailable):
        check_authority(bent(**changes), EPOCH, 1)


def authority_with(*extensions: tuple[x509.ExtensionType, bool], signer: PrivateKey | None = None) -> SigningAuthority:
    """AUTHORITY's certificate with other extensions, signed by its own key or another."""
    authority = AUTHORITY.authority
    name = AUTHORITY.certificate.subject
    builder = x509.CertificateBuilder(
        name, name, AUTHORITY.signer.public_key, 1, naive(authority.not_before), naive(authority.not_after)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    key = signer or AUTHORITY.signer.private_key
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return SigningAuthority.open(replace(authority, certificate=certificate), AUTHORITY.signer)


CA = (x509.BasicConstraints(True, None), True)
CERT_SIGN = (usage(signature=False, cert_sign=True, crl_sign=True), True)
SKI = (x509.SubjectKeyIdentifier(bytes.fromhex(AUTHORITY.authority.id)), False)
AKI = (x509.AuthorityKeyIdentifier(bytes.fromhex(AUTHORITY.authority.id), None, None), False)
TD_ID = (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org")]), False)


def test_the_pieces_of_a_sound_authority_pass() -> None:
    sound = authority_with(CA, CERT_SIGN, SKI, AKI, TD_ID)
    check_authority(sound, EPOCH, 1)
    assert sound.certificate != AUTHORITY.certificate


@pytest.mark.parametrize(
    "extensions",
    [
        (CERT_SIGN, SKI, AKI, TD_ID),
        (CA, SKI, AKI, TD_ID),
        (CA, CERT_SIGN, AKI, TD_ID),
        (CA, CERT_SIGN, SKI, AKI),
        ((x509.BasicConstraints(False, None), True), CERT_SIGN, SKI, AKI, TD_ID),
        ((CA[0], False), CERT_SIGN, SKI, AKI, TD_ID),
        (CA, (usage(), True), SKI, AKI, TD_ID),
        (CA, (usage(cert_sign=True), True), SKI, AKI, TD_ID),
        (CA, (CERT_SIGN[0], False), SKI, AKI, TD_ID),
        (CA, CERT_SIGN, SKI, AKI, (x509.SubjectAlternativeName(NAMES[:1]), False)),
        (CA, CERT_SIGN, SKI, AKI, (x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)),
    ],
)
def test_a_certificate_that_is_no_signing_certificate_fails(
    extensions: tuple[tuple[x509.ExtensionType, bool], ...],
) -> None:
    with pytest.raises(AuthorityUnavailable):
        check_authority(authority_with(*extensions), EPOCH, 1)


def test_a_root_that_another_key_signed_fails() -> None:
    forged = authority_with(CA, CERT_SIGN, SKI, AKI, TD_ID, signer=generate(KeyType.ECDSA_P256))
    with pytest.raises(AuthorityUnavailable):
        check_authority(forged, EPOCH, 1)


def test_a_signer_that_signs_with_another_key_fails() -> None:
    """The custodian claims one key and uses another: only the trial finds out."""
    wrong = generate(KeyType.ECDSA_P256)
    liar = LocalSigner(wrong, AUTHORITY.signer.public_key)
    with pytest.raises(AuthorityUnavailable):
        check_authority(SigningAuthority.open(AUTHORITY.authority, liar), EPOCH, 1)
