from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from attestation.spiffe_id import TrustDomain
from ca.authority import AuthorityKind, AuthorityState, SigningAuthority
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, PrivateKey, generate, key_hash, spki_der
from ca.self_signed import self_signed_authority
from ca.signer import LocalSigner
from tests.fakes.ca import CLASSICAL, make_authority
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
DAY = timedelta(days=1)


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_a_self_signed_authority_is_a_signing_certificate(
    keys: Mapping[KeyType, PrivateKey], key_type: KeyType
) -> None:
    """X509-SVID 3.2, 4.1, 4.3; RFC 5280 4.1.2.4, 4.2.1.1, 4.2.1.2."""
    signer = LocalSigner.of(keys[key_type])
    now = EPOCH + timedelta(milliseconds=700)
    authority = self_signed_authority(
        TD, signer, key_ref="wrapped:1", key_type=key_type, serial=99, now=now, lifetime=DAY
    )
    certificate = x509.load_der_x509_certificate(authority.certificate)
    get = certificate.extensions.get_extension_for_class
    assert certificate.serial_number == 99
    assert certificate.subject == certificate.issuer
    assert get(x509.BasicConstraints) == x509.Extension(
        x509.BasicConstraints.oid, True, x509.BasicConstraints(ca=True, path_length=None)
    )
    usage = get(x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    assert list(get(x509.SubjectAlternativeName).value) == [x509.UniformResourceIdentifier("spiffe://example.org")]
    assert get(x509.SubjectKeyIdentifier).value.digest.hex() == authority.id == key_hash(signer.public_key)[:40]
    assert get(x509.AuthorityKeyIdentifier).value.key_identifier == bytes.fromhex(authority.id)
    certificate.verify_directly_issued_by(certificate)

    assert authority.not_before == certificate.not_valid_before_utc == EPOCH - timedelta(seconds=10)
    assert authority.not_after == certificate.not_valid_after_utc == EPOCH + DAY
    assert (authority.kind, authority.state) == (AuthorityKind.X509, AuthorityState.PREPARED)
    assert (authority.key_ref, authority.key_type) == ("wrapped:1", key_type)
    assert authority.public_key == spki_der(signer.public_key)
    assert authority.created_at == now
    assert authority.activated_at is None


def test_each_authority_has_a_subject_of_its_own() -> None:
    """Else a verifier has to try each authority of that name (SPIRE #4415)."""
    assert len({make_authority().certificate.subject for _ in range(5)}) == 5


def test_long_trust_domains_fit_the_standards_limits() -> None:
    name = make_authority(TrustDomain("a" * 255)).certificate.subject
    assert [len(attribute.value) for attribute in name] == [64, 54]


def test_states() -> None:
    prepared = make_authority(state=AuthorityState.PREPARED).authority
    active = prepared.activated(EPOCH)
    assert active.state is AuthorityState.ACTIVE
    assert active.activated_at == EPOCH
    assert active.usable(EPOCH)
    assert prepared.published(EPOCH)
    for unusable in (
        prepared,
        replace(active, state=AuthorityState.OLD),
        replace(active, tainted=True),
        replace(active, revoked=True),
    ):
        assert not unusable.usable(EPOCH)
    for when in (EPOCH + 91 * DAY, EPOCH - DAY):
        assert not active.usable(when)
    assert replace(active, tainted=True).published(EPOCH)
    assert not replace(active, revoked=True).published(EPOCH)
    assert not active.published(EPOCH + 91 * DAY)


def test_a_key_and_a_certificate_that_do_not_belong_together() -> None:
    one, two = make_authority(), make_authority()
    with pytest.raises(AuthorityUnavailable, match="another key"):
        SigningAuthority.open(one.authority, two.signer)
    swapped = replace(one.authority, certificate=two.authority.certificate)
    with pytest.raises(AuthorityUnavailable, match="another key"):
        SigningAuthority.open(swapped, one.signer)


def test_what_signs_no_certificates() -> None:
    authority = make_authority()
    with pytest.raises(AuthorityUnavailable, match="signs no certificates"):
        SigningAuthority.open(replace(authority.authority, kind=AuthorityKind.JWT), authority.signer)
    for broken in (b"", b"junk", authority.authority.certificate[:-1]):
        with pytest.raises(AuthorityUnavailable, match="cannot be read"):
            SigningAuthority.open(replace(authority.authority, certificate=broken), authority.signer)


def test_the_record_shows_no_bytes() -> None:
    key = generate(KeyType.ECDSA_P256)
    assert "\\x" not in repr(make_authority(key=key).authority)
