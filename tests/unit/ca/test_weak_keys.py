"""Known-weak keys, each with a valid proof of possession, so that nothing else can be the reason for the refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from ca.csr import parse_csr
from ca.errors import CsrRefused
from ca.keys import KeyType, generate
from ca.weak_keys import FERMAT_ROUNDS, check_ed25519, check_rsa, has_close_primes, is_roca
from tests.unit.ca import der

E = 65537
P25519 = 2**255 - 19
REASONS = {"roca": "ROCA", "close": "too close", "square": "too close", "small": "small factor"}


def vectors() -> Iterator[tuple[str, int, int]]:
    for vector in json.loads((Path(__file__).parent / "vectors" / "weak_rsa.json").read_text()):
        yield vector["flaw"], int(vector["p"], 16), int(vector["q"], 16)


def proven_request(p: int, q: int) -> bytes:
    """A CSR for n = p * q, signed by its private key, which is computed here without any library's checks."""
    totient = p * (p - 1) if p == q else (p - 1) * (q - 1)
    info = der.request_info(der.rsa_spki(p * q, E))
    size = (p * q).bit_length() // 8 + bool((p * q).bit_length() % 8)
    helper = rsa.generate_private_key(E, size * 8)
    padded = helper.public_key().recover_data_from_signature(
        helper.sign(info, padding.PKCS1v15(), SHA256()), padding.PKCS1v15(), None
    )
    block = b"\x00\x01" + b"\xff" * (size - len(padded) - 3) + b"\x00" + padded
    signature = pow(int.from_bytes(block, "big"), pow(E, -1, totient), p * q).to_bytes(size, "big")
    algorithm = der.tlv(der.SEQUENCE, der.oid(der.RSA_SHA256), der.tlv(der.NULL))
    return der.tlv(der.SEQUENCE, info, algorithm, der.bits(signature))


def test_the_prover_proves() -> None:
    """A sound key through the same machinery is accepted."""
    numbers = rsa.generate_private_key(E, 2048).private_numbers()
    assert parse_csr(proven_request(numbers.p, numbers.q)).key_hash


@pytest.mark.parametrize(("flaw", "p", "q"), list(vectors()), ids=[flaw for flaw, _, _ in vectors()])
def test_weak_moduli_are_refused(flaw: str, p: int, q: int) -> None:
    with pytest.raises(CsrRefused, match=REASONS[flaw]):
        parse_csr(proven_request(p, q))


def test_each_flaw_is_found_by_its_own_test() -> None:
    for flaw, p, q in vectors():
        assert is_roca(p * q) == (flaw == "roca")
        assert has_close_primes(p * q) == (flaw in ("close", "square"))


def test_sound_keys_pass() -> None:
    for _ in range(3):
        sound = rsa.generate_private_key(E, 2048).public_key().public_numbers()
        check_rsa(sound)
        with pytest.raises(CsrRefused):
            check_rsa(rsa.RSAPublicNumbers(E, sound.n - 1))  # even


def test_roca_hits_sound_keys_never() -> None:
    """The chance is the product of (order of 65537) / (p - 1) over the primes: far below any count of keys."""
    odds = 0.0
    for prime in (p for p in range(3, 702, 2) if all(p % d for d in range(3, math.isqrt(p) + 1, 2))):
        powers = {pow(E, exponent, prime) for exponent in range(prime - 1)}
        odds += math.log2(len(powers) / (prime - 1))
    assert odds < -160


def test_fermat_finds_what_its_rounds_reach() -> None:
    """(middle - d)(middle + d) is found in the round that reaches middle; one beyond the last is not."""
    root = 1 << 1024
    for rounds, found in ((1, True), (FERMAT_ROUNDS, True), (FERMAT_ROUNDS + 1, False)):
        # With the middle m and the distance d, the square root of m^2 - d^2 lies about d^2 / 2m below m.
        middle = root + 12345
        distance = math.isqrt(2 * middle * rounds) - 1
        modulus = middle * middle - distance * distance
        assert middle - math.isqrt(modulus) == rounds
        assert has_close_primes(modulus) is found


@pytest.mark.parametrize("exponent", [1, 3, 17, 65535, 65536, 65538, (1 << 64) + 1])
def test_exponents_outside_the_range(exponent: int) -> None:
    n = rsa.generate_private_key(E, 2048).public_key().public_numbers().n
    with pytest.raises(CsrRefused, match="exponent"):
        check_rsa(rsa.RSAPublicNumbers(exponent, n))


def test_other_odd_exponents_pass() -> None:
    n = rsa.generate_private_key(E, 2048).public_key().public_numbers().n
    check_rsa(rsa.RSAPublicNumbers(65539, n))
    with pytest.raises(CsrRefused, match="exponent"):
        check_rsa(rsa.RSAPublicNumbers(65540, n))


def edwards_add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """RFC 8032 section 5.1.4, affine."""
    d = -121665 * pow(121666, -1, P25519) % P25519
    (x1, y1), (x2, y2) = a, b
    product = d * x1 * x2 * y1 * y2 % P25519
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P25519) % P25519
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P25519) % P25519
    return x, y


def points_with(y: int) -> list[tuple[int, int]]:
    """RFC 8032 section 5.1.3: the points of a given y."""
    d = -121665 * pow(121666, -1, P25519) % P25519
    square = (y * y - 1) * pow(d * y * y + 1, -1, P25519) % P25519
    root = pow(square, (P25519 + 3) // 8, P25519)
    if root * root % P25519 != square:
        root = root * pow(2, (P25519 - 1) // 4, P25519) % P25519
    return [] if root * root % P25519 != square else sorted({(root, y), (-root % P25519, y)})


def small_order_points() -> set[tuple[int, int]]:
    """The whole torsion group: multiples of a point of order 8, found by multiplying a point by the large order."""
    order = 2**252 + 27742317777372353535851937790883648493
    for y in range(2, 100):
        for point in points_with(y):
            result, base, k = (0, 1), point, order
            while k:
                if k & 1:
                    result = edwards_add(result, base)
                base, k = edwards_add(base, base), k >> 1
            group = {(0, 1)}
            walk = result
            while walk not in group:
                group.add(walk)
                walk = edwards_add(walk, result)
            if len(group) == 8:
                return group
    raise AssertionError


def test_all_ed25519_points_of_small_order_are_refused() -> None:
    group = small_order_points()
    assert len(group) == 8
    encodings = {(y | sign << 255).to_bytes(32, "little") for _, y in group for sign in (0, 1)}
    encodings |= {(y + P25519 | sign << 255).to_bytes(32, "little") for y in (0, 1) for sign in (0, 1)}  # not reduced
    for encoding in encodings:
        with pytest.raises(CsrRefused, match="small order"):
            check_ed25519(encoding)


def test_sound_ed25519_keys_pass() -> None:
    key = generate(KeyType.ED25519).public_key()
    raw = key.public_bytes_raw()  # type: ignore[union-attr]
    check_ed25519(raw)
    with pytest.raises(CsrRefused):
        check_ed25519(bytes(len(raw)))
