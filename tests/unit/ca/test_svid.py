"""SVIDs as a peer and a holder read and verify them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, to_pem
from ca.errors import InvalidSvid
from ca.keys import KeyType, PrivateKey, generate
from ca.svid import MAX_CHAIN, parse_svid, parse_svid_pem
from ca.verify import verify_svid
from tests.fakes.ca import CLASSICAL, make_authority, make_bundle_of, make_svid
from tests.fakes.clock import EPOCH
from tests.unit.ca import der

AUTHORITY = make_authority()
HOLDER = make_svid("spiffe://example.org/web", AUTHORITY, dns_names=["web"])
ID = x509.UniformResourceIdentifier("spiffe://example.org/web")


def leaf_usage(*, signature: bool = True, cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, False, False, False, cert_sign, crl_sign, False, False)


def leaf(*extensions: x509.ExtensionType) -> bytes:
    """A certificate of a key that makes its own rules."""
    key = generate(KeyType.ECDSA_P256)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    start = EPOCH.replace(tzinfo=None)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(hours=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def names(*values: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(values)


def test_facts_are_read() -> None:
    intent, svid = HOLDER.issued.intent, HOLDER.svid
    assert svid.spiffe_id == intent.spiffe_id
    assert (svid.serial, svid.key_hash) == (intent.serial, intent.key_hash)
    assert (svid.not_before, svid.not_after) == (intent.not_before, intent.not_after)
    assert svid.chain == HOLDER.issued.chain
    assert parse_svid_pem(svid.pem()) == svid
    assert "\\x" not in repr(svid)


def test_the_least_that_is_an_svid() -> None:
    """X509-SVID 4.1, 4.4: other issuers may leave out constraints and purposes."""
    assert str(parse_svid([leaf(leaf_usage(), names(ID))]).spiffe_id) == ID.value


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ((x509.BasicConstraints(True, None), leaf_usage(), names(ID)), "signing certificate"),
        ((names(ID),), "no key usage"),
        ((leaf_usage(cert_sign=True), names(ID)), "key usage"),
        ((leaf_usage(crl_sign=True), names(ID)), "key usage"),
        ((leaf_usage(signature=False, crl_sign=True), names(ID)), "key usage"),
        ((leaf_usage(),), "0 URI names"),
        ((leaf_usage(), names(x509.DNSName("spiffe://example.org/web"))), "0 URI names"),
        ((leaf_usage(), names(ID, ID)), "2 URI names"),
        ((leaf_usage(), names(ID, x509.UniformResourceIdentifier("https://x"))), "2 URI names"),
        ((leaf_usage(), names(x509.UniformResourceIdentifier("https://example.org/web"))), "not a SPIFFE ID"),
        ((leaf_usage(), names(x509.UniformResourceIdentifier("spiffe://example.org/a/../b"))), "not a SPIFFE ID"),
        ((leaf_usage(), names(x509.UniformResourceIdentifier("spiffe://example.org"))), "identifies no leaf"),
        ((leaf_usage(), names(x509.UniformResourceIdentifier("SPIFFE://example.org/web"))), "not a SPIFFE ID"),
        ((leaf_usage(), names(x509.UniformResourceIdentifier("spiffe://Example.org/web"))), "not a SPIFFE ID"),
    ],
)
def test_what_is_no_leaf_svid_is_refused(extensions: tuple[x509.ExtensionType, ...], reason: str) -> None:
    """X509-SVID 2, 3.1, 4.3, 5.2."""
    with pytest.raises(InvalidSvid, match=reason):
        parse_svid([leaf(*extensions)])


@pytest.mark.parametrize(
    "uri", [b"spiffe://example.org/web\0", "spiffe://example.org/wéb".encode(), b"spiffe://example.org/\xff", b""]
)
def test_uris_that_are_not_plain_ascii_are_refused(uri: bytes) -> None:
    raw = der.tlv(der.SEQUENCE, der.tlv(0x86, uri))
    with pytest.raises(InvalidSvid):
        parse_svid([leaf(leaf_usage(), x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, raw))])


@pytest.mark.parametrize("chain", [[], [b""], [b"junk"], [HOLDER.issued.der[:-1]], [HOLDER.issued.der + b"\0"]])
def test_what_is_no_certificate_is_refused(chain: list[bytes]) -> None:
    with pytest.raises(InvalidSvid):
        parse_svid(chain)


def test_chains_are_bounded() -> None:
    with pytest.raises(InvalidSvid, match="too long"):
        parse_svid([HOLDER.issued.der] * (MAX_CHAIN + 1))
    with pytest.raises(InvalidSvid, match="too long"):
        parse_svid([b"\x30" * 100_000])
    for text in (b"", b"junk", to_pem(b"junk")):
        with pytest.raises(InvalidSvid):
            parse_svid_pem(text)


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_svids_verify_against_their_bundle_and_no_other(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    authority = make_authority(key=keys[key_type], key_type=key_type)
    svid = make_svid(authority=authority).svid
    verify_svid(svid, make_bundle_of(authority), EPOCH)
    verify_svid(svid, make_bundle_of(AUTHORITY, authority), EPOCH)
    with pytest.raises(InvalidSvid, match="does not verify"):
        verify_svid(svid, make_bundle_of(AUTHORITY), EPOCH)
    with pytest.raises(InvalidSvid, match="no authority"):
        verify_svid(svid, TrustBundle(authority.authority.trust_domain, ()), EPOCH)
    for late in (timedelta(hours=1, seconds=1), timedelta(seconds=-11), timedelta(days=100)):
        with pytest.raises(InvalidSvid, match="does not verify"):
            verify_svid(svid, make_bundle_of(authority), EPOCH + late)


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ED25519])
def test_an_svid_of_another_trust_domain_is_refused_whatever_key_signed_it(key_type: KeyType) -> None:
    """Trust Domain and Bundle section 3: the bundle is chosen by the SVID's own trust domain."""
    authority = make_authority(key_type=key_type)
    svid = make_svid(authority=authority).svid
    foreign = TrustBundle(TrustDomain("example.com"), (authority.authority.certificate,))
    with pytest.raises(InvalidSvid, match="not of the trust domain"):
        verify_svid(svid, foreign, EPOCH)


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ED25519])
def test_a_namesake_of_the_authority_verifies_nothing(key_type: KeyType) -> None:
    """Same names and identifiers, another key."""
    authority = make_authority(key_type=key_type)
    forger = make_authority(key_type=key_type)
    bent = x509.CertificateBuilder(
        authority.certificate.subject,
        authority.certificate.subject,
        forger.signer.public_key,
        1,
        EPOCH.replace(tzinfo=None),
        EPOCH.replace(tzinfo=None) + timedelta(days=1),
    )
    for extension in authority.certificate.extensions:
        bent = bent.add_extension(extension.value, extension.critical)
    digest = None if key_type is KeyType.ED25519 else hashes.SHA256()
    namesake = bent.sign(forger.signer.private_key, digest).public_bytes(Encoding.DER)
    with pytest.raises(InvalidSvid):
        verify_svid(make_svid(authority=authority).svid, TrustBundle(TrustDomain("example.org"), (namesake,)), EPOCH)
