"""What is signed at most once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ca.errors import AlreadyIssued


class Once:
    """Something checked that lacks its signature. It gives out what is to be signed once, and is never copied."""

    __slots__ = ("_unsigned",)

    def __init__(self, unsigned: bytes) -> None:
        self._unsigned = unsigned

    @property
    def spent(self) -> bool:
        """Whether it has gone to the key."""
        return not hasattr(self, "_unsigned")

    def take(self) -> bytes:
        """Give out what is to be signed, once. Raises AlreadyIssued after that."""
        try:
            unsigned = self._unsigned
            del self._unsigned  # atomic: of two threads that got here, one fails
        except AttributeError:
            raise AlreadyIssued("signed at most once; prepare a new one") from None
        return unsigned

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is signed at most once cannot be copied")


def check_unspent(prepared: Sequence[Once]) -> None:
    """Raises AlreadyIssued if one was given out before, or comes twice. Call it before any key is used."""
    if any(item.spent for item in prepared) or len(set(prepared)) != len(prepared):
        raise AlreadyIssued("signed at most once; prepare a new one")
