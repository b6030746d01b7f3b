"""Certificate serial numbers (RFC 5280 section 4.1.2.2) and the one way they are written."""

from __future__ import annotations

from collections.abc import Callable

SERIAL_BITS = 159  # positive, so at most 20 octets in DER
_OCTETS = 20
_LEADING_ONE = 1 << (SERIAL_BITS - 1)


class RandomSerials:
    """158 random bits under a leading one, so that every serial has 20 octets and is written with 40 hex digits.

    `random_bytes` must be fit for secrets (os.urandom). Nothing is kept between calls, so that no two processes can
    have the same numbers in stock.
    """

    __slots__ = ("_random_bytes",)

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes

    def __call__(self) -> int:
        return self.many(1)[0]

    def many(self, count: int) -> list[int]:
        """`count` serials for one call of `random_bytes`, which costs more than all else about them."""
        noise = self._random_bytes(_OCTETS * count)
        starts = range(0, _OCTETS * count, _OCTETS)
        return [int.from_bytes(noise[at : at + _OCTETS], "big") % _LEADING_ONE | _LEADING_ONE for at in starts]


def random_serial(random_bytes: Callable[[int], bytes]) -> int:
    """One serial of RandomSerials."""
    return RandomSerials(random_bytes)()


def serial_hex(serial: int) -> str:
    """Lower-case hex in whole octets without leading zero octets, as OpenSSL and Envoy print it."""
    return serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big").hex()


def parse_serial(text: str) -> int:
    """Read what `serial_hex`, OpenSSL or a browser printed: either case, with or without colons. Raises ValueError."""
    serial = int.from_bytes(bytes.fromhex(text.replace(":", "")), "big")
    if not 0 < serial < 1 << SERIAL_BITS:
        raise ValueError("a serial number is positive and has at most 20 octets")
    return serial
