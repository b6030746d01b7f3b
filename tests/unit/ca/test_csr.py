"""CSRs, from honest ones of all kinds to hostile ones. Whatever the bytes are, the answer is a key or CsrRefused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca.csr import MAX_CSR_BYTES, VerifiedCsr, build_csr, parse_csr
from ca.errors import CsrRefused
from ca.keys import KeyType, PrivateKey, generate, key_hash, spki_der
from tests.fakes.ca import CLASSICAL
from tests.unit.ca import der

VECTORS = Path(__file__).parent / "vectors"
P256 = der.oid("1.2.840.10045.3.1.7")


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_our_own_requests_are_read_back(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    public_key = keys[key_type].public_key()
    csr = parse_csr(build_csr(keys[key_type]))
    assert csr.public_key == public_key
    assert csr.spki == spki_der(public_key)
    assert csr.key_hash == key_hash(public_key)
    assert csr == VerifiedCsr.of_own_key(keys[key_type])


def test_our_own_requests_say_nothing_but_the_key(key: PrivateKey) -> None:
    csr = x509.load_der_x509_csr(build_csr(key))
    assert csr.subject == x509.Name([])
    assert not list(csr.attributes)


@pytest.mark.parametrize("name", ["p256", "p384", "ed25519", "rsa2048", "rsa2048-pss"])
def test_requests_of_openssl_are_read(name: str) -> None:
    assert parse_csr((VECTORS / f"openssl-{name}.csr").read_bytes()).key_hash


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("p521", "secp521r1 is not allowed"),
        ("secp256k1", "secp256k1 is not allowed"),
        ("p256-explicit", "unusual encoding"),
        ("ed448", "kind that is not allowed"),
        ("rsa1024", "1024 bits"),
        ("rsa2048-e3", "exponent"),
        ("rsa2048-md5", "not signed by its own key"),
        ("rsa2048-sha1", "not signed by its own key"),
        ("rsapss-key", "unusual encoding"),
    ],
)
def test_requests_of_openssl_are_refused(name: str, reason: str) -> None:
    with pytest.raises(CsrRefused, match=reason):
        parse_csr((VECTORS / f"openssl-{name}.csr").read_bytes())


def test_the_test_writer_makes_requests_that_pass(keys: Mapping[KeyType, PrivateKey]) -> None:
    """Otherwise the refusals below would prove nothing."""
    for key in (keys[key_type] for key_type in CLASSICAL):
        assert parse_csr(der.request_for(key)).public_key == key.public_key()


def test_size_is_bounded_before_anything_is_parsed(key: PrivateKey) -> None:
    names = der.tlv(der.SEQUENCE, *(der.tlv(0x82, b"a" * 60) for _ in range(300)))
    big = der.request_for(key, der.extension_request(der.extension(der.SUBJECT_ALT_NAME, names)))
    assert len(big) > MAX_CSR_BYTES
    with pytest.raises(CsrRefused, match="at most 16384"):
        parse_csr(big)
    with pytest.raises(CsrRefused, match="at most 16384"):
        parse_csr(b"\x30" * 100_000_000)


def hostile_attributes() -> dict[str, tuple[bytes, ...]]:
    uri = der.tlv(0x86, b"spiffe://example.org/admin")
    san = der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, uri))
    ca = der.extension(der.BASIC_CONSTRAINTS, der.tlv(der.SEQUENCE, der.tlv(1, b"\xff")), critical=True)
    ten_kb = der.tlv(der.SEQUENCE, *(der.tlv(0x82, b"%055d.example.org" % n) for n in range(150)))
    return {
        "10 kB of names": (der.extension_request(der.extension(der.SUBJECT_ALT_NAME, ten_kb)),),
        "asks for CA": (der.extension_request(ca),),
        "unknown critical extension": (
            der.extension_request(der.extension("1.3.6.1.4.1.99999.1", b"x", critical=True)),
        ),
        "duplicate extension": (der.extension_request(san, san),),
        "duplicate request": (der.extension_request(san), der.extension_request(ca)),
        "extension value is not DER": (der.extension_request(der.extension(der.SUBJECT_ALT_NAME, b"\xff\xff")),),
        "two URIs": (
            der.extension_request(der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, uri, der.tlv(0x86, b"x")))),
        ),
        "URI with NUL": (
            der.extension_request(
                der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, der.tlv(0x86, b"spiffe://a/b\0c")))
            ),
        ),
        "URI in UTF-8 where IA5 belongs": (
            der.extension_request(
                der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, der.tlv(0x86, "spiffe://ä/ö".encode())))
            ),
        ),
        "URI in overlong UTF-8": (
            der.extension_request(
                der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, der.tlv(0x86, b"spiffe://a\xc0\xaf")))
            ),
        ),
        "reserved DNS name": (
            der.extension_request(
                der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, der.tlv(0x82, b"server.sds.internal")))
            ),
        ),
        "challenge password": (
            der.tlv(der.SEQUENCE, der.oid("1.2.840.113549.1.9.7"), der.tlv(der.SET, der.tlv(der.UTF8, b"x" * 1000))),
        ),
        "unknown attribute": (der.tlv(der.SEQUENCE, der.oid("1.2.3.4"), der.tlv(der.SET, der.tlv(der.NULL))),),
    }


@pytest.mark.parametrize("attributes", hostile_attributes().values(), ids=hostile_attributes())
def test_what_a_request_asks_for_is_never_looked_at(key: PrivateKey, attributes: tuple[bytes, ...]) -> None:
    assert parse_csr(der.request_for(key, *attributes)) == VerifiedCsr.of_own_key(key)


def test_a_subject_is_never_looked_at(key: PrivateKey) -> None:
    common_name = der.tlv(der.SEQUENCE, der.oid("2.5.4.3"), der.tlv(der.UTF8, b"server.sds.internal\0\xff\xfe"))
    subject = der.tlv(der.SEQUENCE, der.tlv(der.SET, common_name))
    assert parse_csr(der.request_for(key, subject=subject)) == VerifiedCsr.of_own_key(key)


def test_a_wrong_signature_is_refused(key: PrivateKey) -> None:
    thief = generate(KeyType.ECDSA_P256)
    info = der.request_info(spki_der(key.public_key()))
    with pytest.raises(CsrRefused, match="not signed by its own key"):
        parse_csr(der.request(info, thief))


@pytest.mark.parametrize("claimed", [KeyType.ED25519, KeyType.RSA_2048, KeyType.ECDSA_P384])
def test_a_signature_of_another_kind_is_refused(
    keys: Mapping[KeyType, PrivateKey], key: PrivateKey, claimed: KeyType
) -> None:
    info = der.request_info(spki_der(key.public_key()))
    signature = der.sign(keys[claimed], info)
    confused = der.tlv(der.SEQUENCE, info, der.algorithm(keys[claimed]), der.bits(signature))
    with pytest.raises(CsrRefused):
        parse_csr(confused)


def test_an_unknown_signature_algorithm_is_refused(key: PrivateKey) -> None:
    info = der.request_info(spki_der(key.public_key()))
    algorithm = der.tlv(der.SEQUENCE, der.oid("1.2.3.4.5"))
    with pytest.raises(CsrRefused):
        parse_csr(der.tlv(der.SEQUENCE, info, algorithm, der.bits(der.sign(key, info))))


@pytest.mark.parametrize(
    ("what", "spki"),
    [
        ("no exponent", der.rsa_spki(1 << 2047 | 1, 0)),
        ("exponent 1", der.rsa_spki(1 << 2047 | 1, 1)),
        ("exponent 3", der.rsa_spki(1 << 2047 | 1, 3)),
        ("even exponent", der.rsa_spki(1 << 2047 | 1, 65536)),
        ("negative exponent", der.rsa_spki(1 << 2047 | 1, -65537)),
        ("huge exponent", der.rsa_spki(1 << 2047 | 1, (1 << 2046) + 1)),
        ("exponent of 65 bits", der.rsa_spki(1 << 2047 | 1, (1 << 64) + 1)),
        ("2047 bits", der.rsa_spki(1 << 2046 | 1, 65537)),
        ("16384 bits", der.rsa_spki(1 << 16383 | 1, 65537)),
        ("100,000 bits", der.rsa_spki(1 << 99_999 | 1, 65537)),
        ("negative modulus", der.rsa_spki(-(1 << 2047), 65537)),
        ("modulus zero", der.rsa_spki(0, 65537)),
        ("even modulus", der.rsa_spki(1 << 2047, 65537)),
        ("point at infinity", der.ec_spki(P256, b"\0")),
        ("point off the curve", der.ec_spki(P256, b"\x04" + b"\x01" * 64)),
        ("short point", der.ec_spki(P256, b"\x04" + b"\x01" * 63)),
        ("empty point", der.ec_spki(P256, b"")),
        ("unknown curve", der.ec_spki(der.oid("1.2.3"), b"\x04" + b"\x01" * 64)),
        ("implicit curve", der.ec_spki(der.tlv(der.NULL), b"\x04" + b"\x01" * 64)),
        ("short Ed25519", der.ed25519_spki(b"\x01" * 31)),
        ("Ed25519 identity", der.ed25519_spki(b"\x01" + b"\0" * 31)),
        ("unknown algorithm", der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.oid("1.2.3")), der.bits(b"x"))),
        ("empty", der.tlv(der.SEQUENCE)),
    ],
)
def test_bad_keys_are_refused_quickly(what: str, spki: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(CsrRefused):
        parse_csr(der.unsigned_request(spki))
    assert time.thread_time() - started < 1, what


def test_a_compressed_point_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    with pytest.raises(CsrRefused, match="unusual encoding"):
        parse_csr(der.request(der.request_info(der.ec_spki(P256, point)), key))


def test_an_altered_generator_is_refused(key: PrivateKey) -> None:
    """Explicit parameters with another base point (as in CVE-2020-0601) would let anybody claim any public key."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    numbers = key.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    parameters = der.tlv(
        der.SEQUENCE,
        der.integer(1),
        der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.1.1"), der.integer(prime)),
        der.tlv(
            der.SEQUENCE,
            der.tlv(der.OCTET_STRING, (prime - 3).to_bytes(32, "big")),
            der.tlv(der.OCTET_STRING, b.to_bytes(32, "big")),
        ),
        der.tlv(der.OCTET_STRING, point),  # the victim's public key as the base point: the private key is then 1
        der.integer(order),
        der.integer(1),
    )
    with pytest.raises(CsrRefused):
        parse_csr(der.unsigned_request(der.ec_spki(parameters, point)))


def test_other_digests_of_a_fit_key(keys: Mapping[KeyType, PrivateKey]) -> None:
    key = keys[KeyType.RSA_2048]
    assert isinstance(key, rsa.RSAPrivateKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for digest in (hashes.SHA384(), hashes.SHA512()):
        parse_csr(builder.sign(key, digest).public_bytes(serialization.Encoding.DER))
    for bad in (hashes.SHA224(), hashes.SHA3_256()):
        with pytest.raises(CsrRefused):
            parse_csr(builder.sign(key, bad).public_bytes(serialization.Encoding.DER))


@pytest.mark.parametrize("tail", [b"\0", b"\x30\x00", b"\n", b"junk"])
def test_trailing_bytes_are_refused(key: PrivateKey, tail: bytes) -> None:
    with pytest.raises(CsrRefused):
        parse_csr(build_csr(key) + tail)


def test_a_version_that_does_not_exist_is_refused(key: PrivateKey) -> None:
    for version in (1, 7, -1):
        info = der.request_info(spki_der(key.public_key()), version=version)
        with pytest.raises(CsrRefused):
            parse_csr(der.request(info, key))


def test_pem_is_refused(key: PrivateKey) -> None:
    pem = x509.load_der_x509_csr(build_csr(key)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CsrRefused):
        parse_csr(pem)


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ED25519, KeyType.RSA_2048])
def test_every_truncation_is_refused(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    whole = build_csr(keys[key_type])
    for length in range(len(whole)):
        with pytest.raises(CsrRefused):
            parse_csr(whole[:length])


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ED25519, KeyType.RSA_2048])
def test_every_altered_byte_is_refused(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    """Each byte is a tag, a length, signed, or part of the signature.

    The one exception says how many bits of the signature's last octet are padding: where they are zero anyway, the
    altered request is proper DER, its signature verifies, and it proves the same key.
    """
    whole = build_csr(keys[key_type])
    accepted = {}
    for at in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            altered = bytearray(whole)
            altered[at] ^= flip
            try:
                accepted[at] = parse_csr(bytes(altered))
            except CsrRefused:
                continue
    signature = len(x509.load_der_x509_csr(whole).signature)
    assert accepted.keys() <= {len(whole) - signature - 1}
    assert all(csr == parse_csr(whole) for csr in accepted.values())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400), cut=st.integers(0, 180))
def test_noise_is_refused(key: PrivateKey, noise: bytes, cut: int) -> None:
    """A P-256 request of ours has more than 180 bytes, the last of which are its signature."""
    for hostile in (noise, build_csr(key)[:cut] + noise):
        with pytest.raises(CsrRefused):
            parse_csr(hostile)


def test_a_refusal_shows_nothing_of_the_request(key: PrivateKey) -> None:
    marker = b"canary-in-a-subject"
    subject = der.tlv(
        der.SEQUENCE, der.tlv(der.SET, der.tlv(der.SEQUENCE, der.oid("2.5.4.3"), der.tlv(der.UTF8, marker)))
    )
    with pytest.raises(CsrRefused) as caught:
        parse_csr(der.request_for(key, subject=subject) + b"\0")
    assert marker.decode() not in f"{caught.value!r} {caught.value.__cause__!r}"
