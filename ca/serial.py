"""Certificate serial numbers (RFC 5280 section 4.1.2.2) and the one way they are written."""

from __future__ import annotations

from collections.abc import Callable

SERIAL_BITS = 159  # positive, so at most 20 octets in DER
_OCTETS = 20
_INTEGER = bytes((0x02, _OCTETS))  # tag and length (X.690 8.3)
_WITH_LEADING_ONE = bytes(octet & 0x3F | 0x40 for octet in range(256))
"""For each first octet the one with a clear bit, which makes the number positive, and a one after it."""


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
        octets = self._octets(count)
        return [int.from_bytes(octets[at : at + _OCTETS], "big") for at in range(0, len(octets), _OCTETS)]

    def encoded(self, count: int) -> list[tuple[bytes, str]]:
        """The same, each as an INTEGER (DER, `ca.der.integer`) and as `serial_hex` writes it."""
        octets = self._octets(count)
        digits = octets.hex()
        return [
            (_INTEGER + octets[at : at + _OCTETS], digits[2 * at : 2 * (at + _OCTETS)])
            for at in range(0, len(octets), _OCTETS)
        ]

    def _octets(self, count: int) -> bytes:
        octets = bytearray(self._random_bytes(_OCTETS * count))
        octets[::_OCTETS] = octets[::_OCTETS].translate(_WITH_LEADING_ONE)
        return bytes(octets)


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
