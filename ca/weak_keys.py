"""Public keys that are known to be breakable. Only tests that cost little beside one signature are here."""

from __future__ import annotations

import math

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from ca.errors import CsrRefused

MIN_RSA_BITS = 2048  # NIST SP 800-131A
MAX_RSA_BITS = 8192  # verifying costs time with the square of the size; a request must not choose how much
MIN_RSA_EXPONENT = 65537  # FIPS 186-5, A.1.1: 2^16 < e < 2^256
MAX_RSA_EXPONENT_BITS = 64  # far below the standard's bound: a long exponent only makes verifying slow
FERMAT_ROUNDS = 100
_SMALL_PRIME_LIMIT = 2000
_ROCA_PRIME_LIMIT = 701  # the first 126 primes: those of the generator's modulus for keys of 2048 bits; longer use more
_ED25519_P = 2**255 - 19
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022  # on RFC 8032's curve


def check_rsa(key: RSAPublicNumbers) -> None:
    """Size, exponent, small factors, primes close to each other, and ROCA. Raises CsrRefused."""
    bits = key.n.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise CsrRefused(f"RSA key has {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are allowed")
    if key.e < MIN_RSA_EXPONENT or key.e % 2 == 0 or key.e.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise CsrRefused("RSA public exponent is not allowed; use 65537")
    if math.gcd(key.n, _SMALL_PRIMES) != 1:
        raise CsrRefused("RSA modulus has a small factor")
    if is_roca(key.n):
        raise CsrRefused("RSA key comes from a broken generator (ROCA, CVE-2017-15361)")
    if has_close_primes(key.n):
        raise CsrRefused("RSA primes are too close to each other")


def is_roca(modulus: int) -> bool:
    """Whether the modulus is a power of 65537 modulo every small prime.

    Keys from the broken generator always are (Nemec et al., "The Return of Coppersmith's Attack", section 2.1); any
    other key is with a chance of 2^-167.
    """
    # The powers of 65537 are the only group of their order there is, so raising to that order tells who belongs.
    return all(pow(modulus, order, prime) == 1 for prime, order in _ROCA_ORDERS)


def has_close_primes(modulus: int) -> bool:
    """Fermat's method for a bounded number of rounds: finds n = p * q when p and q share about half of their bits."""
    root = math.isqrt(modulus)
    if root * root == modulus:
        return True
    middle = root + 1
    rest = middle * middle - modulus
    for _ in range(FERMAT_ROUNDS):
        # A square is 0, 1, 4 or 9 modulo 16; this spares three square roots of four.
        if rest & 15 in (0, 1, 4, 9) and math.isqrt(rest) ** 2 == rest:
            return True
        rest += 2 * middle + 1
        middle += 1
    return False


def check_ed25519(raw: bytes) -> None:
    """Refuse points of small order, under which anybody's signature verifies. Raises CsrRefused."""
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y % _ED25519_P in _SMALL_ORDER_Y:
        raise CsrRefused("Ed25519 key is a point of small order")


def _primes(limit: int) -> list[int]:
    sieve = bytearray([1]) * (limit + 1)
    sieve[0:2] = b"\0\0"
    for candidate in range(2, math.isqrt(limit) + 1):
        if sieve[candidate]:
            sieve[candidate * candidate :: candidate] = bytes(len(range(candidate * candidate, limit + 1, candidate)))
    return [number for number, prime in enumerate(sieve) if prime]


def _order_of_65537(prime: int) -> int:
    order, power = 1, 65537 % prime
    while power != 1:
        order, power = order + 1, power * 65537 % prime
    return order


_SMALL_PRIMES = math.prod(_primes(_SMALL_PRIME_LIMIT))
_ROCA_ORDERS = tuple((prime, _order_of_65537(prime)) for prime in _primes(_ROCA_PRIME_LIMIT))
# Orders 1, 2, 4 and 8: y = 1, -1, 0 and the two of order 8. The sign bit of x does not change the order.
_SMALL_ORDER_Y = frozenset({1, _ED25519_P - 1, 0, _ORDER_8_Y, _ED25519_P - _ORDER_8_Y})
