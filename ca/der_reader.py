"""Reads DER (ITU-T X.690) where the library has no parser, as strictly as it would.

What is not the one encoding of what it says is refused: lengths that are indefinite or longer than needed, tags in the
long form, and whatever is left over.
"""

from __future__ import annotations

from ca.der import INTEGER

_LONG_TAG = 0x1F
_MAX_LENGTH_OCTETS = 3


class InvalidDer(ValueError):
    """The bytes are not DER, or not the element that was expected."""


class DerReader:
    """Elements one after the other. Every method raises InvalidDer."""

    __slots__ = ("_at", "_data")

    def __init__(self, unverified: bytes) -> None:
        self._data = unverified
        self._at = 0

    @property
    def tag(self) -> int | None:
        """The next element's identifier octet; None at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def raw(self, tag: int) -> bytes:
        """The whole next element, which must have this tag."""
        start, (_, end) = self._at, self._bounds(tag)
        self._at = end
        return self._data[start:end]

    def content(self, tag: int) -> bytes:
        """What is in the next element, which must have this tag."""
        start, self._at = self._bounds(tag)
        return self._data[start : self._at]

    def inside(self, tag: int) -> DerReader:
        """A reader of what is in the next element."""
        return DerReader(self.content(tag))

    def skip(self) -> None:
        """Over the next element, whatever it is."""
        if self.tag is None:
            raise InvalidDer("an element is missing")
        self.raw(self.tag)

    def integer(self) -> int:
        """An INTEGER in as few octets as it takes (X.690 8.3.2)."""
        octets = self.content(INTEGER)
        if not octets or (len(octets) > 1 and octets[0] in {0, 0xFF} and octets[0] >> 7 == octets[1] >> 7):
            raise InvalidDer("an INTEGER is not in its shortest form")
        return int.from_bytes(octets, "big", signed=True)

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise InvalidDer("something is left over")

    def _bounds(self, tag: int) -> tuple[int, int]:
        """Where the next element's content starts and ends."""
        data, at = self._data, self._at
        if len(data) < at + 2 or data[at] != tag or tag & _LONG_TAG == _LONG_TAG:
            raise InvalidDer("an element is missing or another one than expected")
        length, at = data[at + 1], at + 2
        if length & 0x80:
            octets = length & 0x7F
            if not 0 < octets <= _MAX_LENGTH_OCTETS or len(data) < at + octets:
                raise InvalidDer("a length is indefinite, or too long")
            length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
            if length < 0x80 or length >> 8 * (octets - 1) == 0:
                raise InvalidDer("a length is not in its shortest form")
        if len(data) - at < length:
            raise InvalidDer("an element is cut off")
        return at, at + length
