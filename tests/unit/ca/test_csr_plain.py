"""Requests that are known by heart never get a verdict of their own: whatever the bytes, it is the full parser's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.csr import VerifiedCsr, build_csr, parse_any_csr, parse_csr, parse_plain_csr
from ca.errors import CsrRefused
from ca.keys import KeyType, PrivateKey, generate, spki_der
from tests.fakes.ca import CLASSICAL
from tests.unit.ca import der

VECTORS = Path(__file__).parent / "vectors"
P256 = der.oid("1.2.840.10045.3.1.7")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


@pytest.fixture(scope="module")
def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def whole(p256: PrivateKey) -> bytes:
    return build_csr(p256)


def verdict(unverified_der: bytes) -> VerifiedCsr | None:
    """What both ways say, which must be the same; None if refused."""
    try:
        full = parse_any_csr(unverified_der)
    except CsrRefused:
        full = None
    try:
        plain = parse_plain_csr(unverified_der)
    except CsrRefused:
        assert full is None, "refused though the full parser accepts it"
        with pytest.raises(CsrRefused):
            parse_csr(unverified_der)
        return None
    if plain is not None:
        assert plain == full, "accepted though the full parser does not, or not so"
    try:
        assert parse_csr(unverified_der) == full
    except CsrRefused:
        assert full is None
    return full


def test_what_our_agents_send_is_known_by_heart() -> None:
    """Of every size that a signature has; it is all of our requests that are not longer than this."""
    sizes = set()
    for _ in range(200):
        key = generate(KeyType.ECDSA_P256)
        request = build_csr(key)
        sizes.add(len(request))
        assert parse_plain_csr(request) == verdict(request) == VerifiedCsr.of_own_key(key)
    assert len(sizes) > 2


def test_everything_else_is_left_to_the_full_parser(keys: Mapping[KeyType, PrivateKey], p256: PrivateKey) -> None:
    subject = der.tlv(
        der.SEQUENCE, der.tlv(der.SET, der.tlv(der.SEQUENCE, der.oid("2.5.4.3"), der.tlv(der.UTF8, b"x")))
    )
    requests = [build_csr(keys[key_type]) for key_type in CLASSICAL if key_type is not KeyType.ECDSA_P256]
    requests += [der.request_for(p256, subject=subject), der.request_for(p256, der.extension_request())]
    requests.append(sha384(p256))
    for request in requests:
        assert parse_plain_csr(request) is None
        assert verdict(request) is not None


def sha384(key: PrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA384()).public_bytes(Encoding.DER)


def test_every_flipped_bit(whole: bytes) -> None:
    accepted = set()
    for bit in range(len(whole) * 8):
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        if verdict(bytes(altered)) is not None:
            accepted.add(bit // 8)
    signature = len(x509.load_der_x509_csr(whole).signature)
    assert accepted <= {len(whole) - signature - 1}  # the number of unused bits, where those are zero anyway


def test_every_octet_of_the_frame_with_every_value(whole: bytes) -> None:
    """All tags, lengths and object identifiers: everything but the point and the two numbers of the signature."""
    point = whole.index(b"\x03\x42\x00\x04") + 4
    frame = [*range(point), *range(point + 64, point + 64 + 14 + 7)]
    for at in frame:
        for value in range(256):
            if value != whole[at]:
                verdict(whole[:at] + bytes([value]) + whole[at + 1 :])


def test_every_length_of_a_request(whole: bytes) -> None:
    for size in range(len(whole)):
        assert verdict(whole[:size]) is None
        assert verdict(whole[size:]) is None if size else True
    for more in (b"\0", b"\0\0", whole[-1:], whole, bytes(100)):
        assert verdict(whole + more) is None
        assert verdict(more + whole) is None


def long_forms(element: bytes) -> Iterator[bytes]:
    """The same element with its length in other forms, which BER allows and DER does not (X.690 8.1.3, 10.1)."""
    first = element[1]
    octets = first & 0x7F if first & 0x80 else 0
    length = int.from_bytes(element[2 : 2 + octets], "big") if octets else first
    body = element[2 + octets :]
    assert len(body) == length
    for size in (1, 2, 3, 4, 8):
        if size > octets:
            yield element[:1] + bytes([0x80 | size]) + length.to_bytes(size, "big") + body
    yield element[:1] + b"\x80" + body + b"\0\0"
    yield element[:1] + b"\xff" + body


def parts(key: ec.EllipticCurvePrivateKey) -> tuple[list[bytes], bytes, bytes]:
    """Version, subject, key and attributes; the algorithm; the parameters of the key."""
    spki = spki_der(key.public_key())
    return [der.integer(0), der.tlv(der.SEQUENCE), spki, der.tlv(der.CONTEXT_0)], der.algorithm(key), P256


def test_lengths_in_other_forms_with_a_good_signature(p256: ec.EllipticCurvePrivateKey) -> None:
    """The sender signs what he altered, so that only the form can be refused."""
    elements, algorithm, _ = parts(p256)
    assert verdict(der.request(der.tlv(der.SEQUENCE, *elements), p256)) is not None
    for at, element in enumerate(elements):
        for other in long_forms(element):
            info = der.tlv(der.SEQUENCE, *elements[:at], other, *elements[at + 1 :])
            assert verdict(der.request(info, p256)) is None
    for info in long_forms(der.tlv(der.SEQUENCE, *elements)):
        assert verdict(der.request(info, p256)) is None
    info = der.tlv(der.SEQUENCE, *elements)
    signature = der.bits(der.sign(p256, info))
    for other in long_forms(algorithm):
        assert verdict(der.tlv(der.SEQUENCE, info, other, signature)) is None
    for other in long_forms(signature):
        assert verdict(der.tlv(der.SEQUENCE, info, algorithm, other)) is None
    for request in long_forms(der.tlv(der.SEQUENCE, info, algorithm, signature)):
        assert verdict(request) is None


def points(key: ec.EllipticCurvePrivateKey) -> dict[str, bytes]:
    numbers = key.public_key().public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    compressed = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return {
        "compressed": compressed,
        "compressed, filled up": compressed + bytes(32),
        "hybrid": bytes([6 + (numbers.y & 1)]) + x + y,
        "wrong hybrid": bytes([7 - (numbers.y & 1)]) + x + y,
        "infinity": b"\0",
        "infinity, filled up": b"\0" + x + y,
        "the origin": b"\4" + bytes(64),
        "beyond the prime": b"\4" + b"\xff" * 64,
        "x plus the prime": b"\4" + ((numbers.x + PRIME) % 2**256).to_bytes(32, "big") + y,
        "the prime": b"\4" + PRIME.to_bytes(32, "big") + y,
        "off the curve": b"\4" + x + (numbers.y ^ 1).to_bytes(32, "big"),
        "swapped": b"\4" + y + x,
        "an octet more": b"\4" + x + y + b"\0",
        "an octet less": b"\4" + x + y[:-1],
        "unknown form": b"\5" + x + y,
    }


def test_points_in_other_forms_with_a_good_signature(p256: ec.EllipticCurvePrivateKey) -> None:
    for what, point in points(p256).items():
        assert verdict(der.request(der.request_info(der.ec_spki(P256, point)), p256)) is None, what


def test_the_negative_point_has_another_key(p256: ec.EllipticCurvePrivateKey) -> None:
    """It is on the curve, so the signature has to find it."""
    numbers = p256.public_key().public_numbers()
    point = b"\4" + numbers.x.to_bytes(32, "big") + (PRIME - numbers.y).to_bytes(32, "big")
    assert verdict(der.request(der.request_info(der.ec_spki(P256, point)), p256)) is None


@pytest.mark.parametrize(
    "parameters",
    [
        der.oid("1.2.840.10045.3.1.6"),  # prime239v3
        der.oid("1.3.132.0.10"),  # secp256k1, whose points have the same size
        der.oid("1.2.840.10045.3.1.7.0"),
        der.tlv(der.NULL),
        b"",
        der.tlv(der.SEQUENCE, der.integer(1)),
        P256 + der.tlv(der.NULL),
    ],
    ids=lambda parameters: parameters.hex() or "none",
)
def test_other_parameters_with_a_good_signature(p256: ec.EllipticCurvePrivateKey, parameters: bytes) -> None:
    point = p256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert verdict(der.request(der.request_info(der.ec_spki(parameters, point)), p256)) is None


def test_explicit_parameters_are_refused() -> None:
    assert verdict((VECTORS / "openssl-p256-explicit.csr").read_bytes()) is None


def test_other_frames_with_a_good_signature(p256: ec.EllipticCurvePrivateKey) -> None:
    elements, _, _ = parts(p256)
    version, subject, key, attributes = elements
    null = der.tlv(der.NULL)
    frames = [
        [version, subject, key],
        [version, subject, key, attributes, attributes],
        [version, subject, key, attributes, null],
        [subject, key, attributes],
        [version, key, subject, attributes],
        [version, subject, subject, key, attributes],
        [der.tlv(der.INTEGER), subject, key, attributes],
        [der.tlv(der.INTEGER, b"\0\0"), subject, key, attributes],
        [version, der.tlv(der.SET), key, attributes],
        [version, null, key, attributes],
        [version, subject, key, der.tlv(0x80)],
        [version, subject, key, der.tlv(0xA1)],
        [version, subject, key, der.tlv(der.CONTEXT_0, null)],
    ]
    for frame in frames:
        verdict(der.request(der.tlv(der.SEQUENCE, *frame), p256))
    for number in (-1, 1, 2, 255, 1 << 64):
        verdict(der.request(der.request_info(key, version=number), p256))


def test_other_algorithms(p256: ec.EllipticCurvePrivateKey, keys: Mapping[KeyType, PrivateKey]) -> None:
    info = der.request_info(spki_der(p256.public_key()))
    names = ["1.2.840.10045.4.1", *(f"1.2.840.10045.4.3.{n}" for n in range(6)), der.ED25519, der.RSA_SHA256, der.EC]
    for name in names:
        for parameters in (b"", der.tlv(der.NULL), P256, der.tlv(der.SEQUENCE)):
            algorithm = der.tlv(der.SEQUENCE, der.oid(name), parameters)
            for key in (p256, *(keys[key_type] for key_type in CLASSICAL)):
                verdict(der.tlv(der.SEQUENCE, info, algorithm, der.bits(der.sign(key, info))))


def signatures(key: ec.EllipticCurvePrivateKey, info: bytes) -> Iterator[bytes]:
    """Good and bad forms of a good signature, and bad numbers in a good form."""
    good = der.sign(key, info)
    r, s = decode_dss_signature(good)
    yield from long_forms(good)
    yield good + b"\0"
    yield good[:-1]
    yield b""
    yield b"\0" * 8
    numbers = [der.integer(r), der.integer(s)]
    for at in (0, 1):
        for other in long_forms(numbers[at]):
            yield der.tlv(der.SEQUENCE, *numbers[:at], other, *numbers[at + 1 :])
        padded = der.tlv(der.INTEGER, b"\0", numbers[at][2:])
        yield der.tlv(der.SEQUENCE, *numbers[:at], padded, *numbers[at + 1 :])
    for pair in ((0, s), (r, 0), (0, 0), (1, 1), (r, ORDER), (ORDER, s), (-r, s), (r, -s), (r + ORDER, s), (s, r)):
        yield der.tlv(der.SEQUENCE, *map(der.integer, pair))
    yield der.tlv(der.SEQUENCE, *numbers, der.integer(1))
    yield der.tlv(der.SEQUENCE, numbers[0])
    yield der.tlv(der.SET, *numbers)
    yield der.tlv(der.OCTET_STRING, good)


def test_signatures_in_other_forms(p256: ec.EllipticCurvePrivateKey) -> None:
    info = der.request_info(spki_der(p256.public_key()))
    algorithm = der.algorithm(p256)
    for signature in signatures(p256, info):
        assert verdict(der.tlv(der.SEQUENCE, info, algorithm, der.bits(signature))) is None, signature.hex()


def test_a_signature_has_a_twin_and_the_twin_proves_as_much(p256: ec.EllipticCurvePrivateKey) -> None:
    """(r, -s) verifies wherever (r, s) does. It needs the first, which only the holder of the key can make."""
    info = der.request_info(spki_der(p256.public_key()))
    r, s = decode_dss_signature(der.sign(p256, info))
    twin = encode_dss_signature(r, ORDER - s)
    request = der.tlv(der.SEQUENCE, info, der.algorithm(p256), der.bits(twin))
    assert verdict(request) == VerifiedCsr.of_own_key(p256)


def test_unused_bits(p256: ec.EllipticCurvePrivateKey) -> None:
    info = der.request_info(spki_der(p256.public_key()))
    for _ in range(8):
        signature = der.sign(p256, info)
        for unused in range(256):
            string = der.tlv(der.BIT_STRING, bytes([unused]), signature)
            verdict(der.tlv(der.SEQUENCE, info, der.algorithm(p256), string))


def test_one_signature_is_good_for_one_key_only(whole: bytes, p256: PrivateKey) -> None:
    """Points and signatures of two requests, exchanged."""
    other = build_csr(generate(KeyType.ECDSA_P256))
    point = whole.index(b"\x03\x42\x00\x04") + 4
    end = point + 64
    assert verdict(whole[:point] + other[point:end] + whole[end:]) is None
    if len(whole) == len(other):
        assert verdict(whole[:end] + other[end:]) is None
    assert verdict(whole) == VerifiedCsr.of_own_key(p256)


edits = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 400), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("insert"), st.integers(0, 400), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.integers(0, 400), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("splice"), st.integers(0, 400), st.binary(min_size=1, max_size=4)),
    ),
    min_size=1,
    max_size=5,
)


def edited(request: bytes, other: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    for kind, where, octets in steps:
        at = where % (len(request) + 1)
        match kind:
            case "set":
                request = request[:at] + octets + request[at + len(octets) :]
            case "insert":
                request = request[:at] + octets + request[at:]
            case "delete":
                request = request[:at] + request[at + len(octets) :]
            case _:
                request = request[:at] + other[at:]
    return request


@settings(max_examples=600, deadline=None)
@given(first=st.sampled_from(CLASSICAL), second=st.sampled_from([KeyType.ECDSA_P256, KeyType.ECDSA_P384]), steps=edits)
def test_edited_requests(
    keys: Mapping[KeyType, PrivateKey],
    whole: bytes,
    first: KeyType,
    second: KeyType,
    steps: list[tuple[str, int, bytes]],
) -> None:
    for request in (whole, build_csr(keys[first])):
        verdict(edited(request, build_csr(keys[second]), steps))


@settings(max_examples=300, deadline=None)
@given(steps=edits)
def test_requests_edited_before_they_are_signed(
    p256: ec.EllipticCurvePrivateKey, whole: bytes, steps: list[tuple[str, int, bytes]]
) -> None:
    info = edited(x509.load_der_x509_csr(whole).tbs_certrequest_bytes, whole[3:], steps)
    verdict(der.request(info, p256))
