from __future__ import annotations

import base64
import os
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import OcspRefused
from ca.ocsp.request import MAX_CERTIFICATES, MAX_NONCE_BYTES, MAX_REQUEST_BYTES, OcspRequest, parse_get, parse_request
from ca.ocsp.response import IssuerHashes
from ca.serial import serial_hex
from tests.fakes.ca import make_authority, make_svid
from tests.unit.ca import der

NONCE = "1.3.6.1.5.5.7.48.1.2"
SHA256 = "2.16.840.1.101.3.4.2.1"
AUTHORITY = make_authority()
LEAF = make_svid(authority=AUTHORITY)
CERTIFICATE = x509.load_der_x509_certificate(LEAF.issued.der)
HASHES = IssuerHashes.of(AUTHORITY.authority.id, AUTHORITY.subject, AUTHORITY.authority.public_key)


def client(algorithm: hashes.HashAlgorithm | None = None, nonce: bytes | None = None) -> bytes:
    """A request as the library's client makes it."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        CERTIFICATE, AUTHORITY.certificate, algorithm or hashes.SHA256()
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def cert_id(*, serial: int = 5, hash_oid: str = SHA256, parameters: bytes = der.tlv(der.NULL), size: int = 32) -> bytes:
    algorithm = der.tlv(der.SEQUENCE, der.oid(hash_oid), parameters)
    octets = der.tlv(der.OCTET_STRING, bytes(size))
    return der.tlv(der.SEQUENCE, algorithm, octets, octets, der.integer(serial))


def single(raw: bytes | None = None, *extensions: bytes) -> bytes:
    extra = der.tlv(0xA0, der.tlv(der.SEQUENCE, *extensions)) if extensions else b""
    return der.tlv(der.SEQUENCE, cert_id() if raw is None else raw, extra)


def request(*singles: bytes, before: bytes = b"", after: bytes = b"", signature: bytes = b"") -> bytes:
    tbs = der.tlv(der.SEQUENCE, before, der.tlv(der.SEQUENCE, *singles), after)
    return der.tlv(der.SEQUENCE, tbs, signature)


def extensions(*inner: bytes) -> bytes:
    return der.tlv(0xA2, der.tlv(der.SEQUENCE, *inner))


def nonce(size: int) -> bytes:
    return extensions(der.extension(NONCE, der.tlv(der.OCTET_STRING, bytes(size))))


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_the_librarys_requests_name_their_issuer_and_serial(algorithm: hashes.HashAlgorithm) -> None:
    (found,) = parse_request(client(algorithm, b"n" * 32)).cert_ids
    assert found.serial == serial_hex(CERTIFICATE.serial_number) == LEAF.svid.serial
    assert HASHES.issued(found)
    other = make_authority()
    assert not IssuerHashes.of(other.authority.id, other.subject, other.authority.public_key).issued(found)


def test_a_get_is_read_in_every_form_that_clients_send() -> None:
    plain = client(nonce=os.urandom(32))
    text = base64.b64encode(plain).decode()
    for path in (text, quote(text, safe=""), quote(text), quote(text, safe="+")):
        assert parse_get(path) == parse_request(plain)


@pytest.mark.parametrize("path", ["", "%%%", "ä", "MEE", base64.b64encode(b"no request").decode(), "A" * 20_000])
def test_a_get_that_is_no_request_is_refused(path: str) -> None:
    with pytest.raises(OcspRefused):
        parse_get(path)


def test_several_certificates_may_be_asked_for_at_once() -> None:
    many = parse_request(request(*(single(cert_id(serial=n + 1)) for n in range(MAX_CERTIFICATES))))
    assert [found.serial for found in many.cert_ids] == [serial_hex(n + 1) for n in range(MAX_CERTIFICATES)]
    assert many.cert_ids[2].der == cert_id(serial=3)
    with pytest.raises(OcspRefused):
        parse_request(request(*(single() for _ in range(MAX_CERTIFICATES + 1))))


def test_a_serial_that_no_certificate_has_is_no_error() -> None:
    for serial in (0, -1, 1 << 200):
        (found,) = parse_request(request(single(cert_id(serial=serial)))).cert_ids
        assert found.serial == ""


def test_an_unknown_hash_names_no_issuer() -> None:
    (found,) = parse_request(request(single(cert_id(hash_oid="1.2.840.113549.2.5", size=16)))).cert_ids
    assert found.algorithm == ""
    assert not HASHES.issued(found)


def test_hash_parameters_may_be_absent_or_null() -> None:
    assert parse_request(request(single(cert_id(parameters=b""))))
    for parameters in (der.integer(1), der.tlv(der.NULL, b"x"), der.tlv(der.NULL) * 2):
        with pytest.raises(OcspRefused):
            parse_request(request(single(cert_id(parameters=parameters))))


@pytest.mark.parametrize("size", [1, 16, 32, MAX_NONCE_BYTES])
def test_nonces_within_bounds_are_kept(size: int) -> None:
    assert parse_request(request(single(), after=nonce(size))).nonce == der.tlv(der.OCTET_STRING, bytes(size))


@pytest.mark.parametrize("size", [0, MAX_NONCE_BYTES + 1])
def test_nonces_out_of_bounds_are_refused(size: int) -> None:
    """RFC 9654 section 2.1: a server MUST reject them with malformedRequest."""
    with pytest.raises(OcspRefused):
        parse_request(request(single(), after=nonce(size)))


def test_requestor_and_signature_are_passed_over() -> None:
    name = der.tlv(0xA1, der.tlv(0xA4, der.tlv(der.SEQUENCE)))
    certificates = der.tlv(0xA0, der.tlv(der.SEQUENCE, AUTHORITY.authority.certificate))
    signature = der.tlv(
        0xA0, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.oid(der.ECDSA_SHA256)), der.bits(b"?"), certificates)
    )
    assert parse_request(request(single(), before=name, signature=signature)) == parse_request(request(single()))


RAW_NONCE = der.extension(NONCE, der.tlv(der.OCTET_STRING, b"n"))
CRITICAL = der.extension("1.2.3.4", b"x", critical=True)


@pytest.mark.parametrize(
    ("what", "unverified"),
    [
        ("nothing", b""),
        ("too much", request(single()) + bytes(MAX_REQUEST_BYTES)),
        ("a certificate", AUTHORITY.authority.certificate),
        ("left over", request(single()) + b"\0"),
        ("left over inside", request(single(), signature=der.integer(1))),
        ("left over in the list", request(single(), after=nonce(1) + der.integer(1))),
        ("no certificates", request()),
        ("version 1 in full", request(single(), before=der.tlv(0xA0, der.integer(0)))),
        ("version 2", request(single(), before=der.tlv(0xA0, der.integer(1)))),
        ("a critical extension", request(single(), after=extensions(CRITICAL))),
        ("a critical extension of one", request(single(None, CRITICAL))),
        ("an extension twice", request(single(), after=extensions(RAW_NONCE, RAW_NONCE))),
        ("a nonce that is no octet string", request(single(), after=extensions(der.extension(NONCE, b"raw")))),
        (
            "critical: false, written out",
            request(
                single(),
                after=extensions(
                    der.tlv(der.SEQUENCE, der.oid("1.2.3"), der.tlv(1, b"\0"), der.tlv(der.OCTET_STRING, b""))
                ),
            ),
        ),
        ("no serial", request(single(der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.oid(SHA256)))))),
        ("indefinite length", b"\x30\x80" + request(single())[2:] + b"\0\0"),
        ("an unsigned signature", request(single(), signature=der.tlv(0xA0, der.tlv(der.SEQUENCE)))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_request_is_refused(what: str, unverified: bytes) -> None:
    with pytest.raises(OcspRefused):
        parse_request(unverified)


def test_harmless_extensions_are_ignored() -> None:
    known = parse_request(request(single(None, der.extension("1.2.3.4", b"x")), after=nonce(1)))
    assert known.nonce is not None
    types = der.extension("1.3.6.1.5.5.7.48.1.4", der.tlv(der.SEQUENCE), critical=True)
    assert parse_request(request(single(), after=extensions(types))).nonce is None


@settings(max_examples=300)
@given(place=st.integers(0, 4095), octet=st.integers(0, 255), cut=st.booleans())
def test_no_altered_request_does_more_than_be_refused(place: int, octet: int, cut: bool) -> None:
    sound = request(single(), single(cert_id(serial=1 << 150)), after=nonce(32))
    at = place % len(sound)
    altered = sound[:at] if cut else sound[:at] + bytes([octet]) + sound[at + 1 :]
    try:
        parsed = parse_request(altered)
    except OcspRefused:
        return
    assert isinstance(parsed, OcspRequest)
    assert 1 <= len(parsed.cert_ids) <= MAX_CERTIFICATES


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(OcspRefused):
        parse_request(noise)
