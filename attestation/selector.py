"""Selectors: facts about a caller that an attestor has verified, written ``type:value``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attestation.errors import InvalidSelector

MAX_TYPE_BYTES = 64
MAX_VALUE_BYTES = 1024


@dataclass(frozen=True, slots=True, order=True)
class Selector:
    """One fact, e.g. ``unix:uid:1000`` has type ``unix`` and value ``uid:1000``."""

    type: str
    value: str

    def __post_init__(self) -> None:
        if not self.type or not self.value:
            raise InvalidSelector("a selector is written type:value, e.g. unix:uid:1000")
        if ":" in self.type:
            raise InvalidSelector("a selector's type cannot contain a colon")
        if not (self.type + self.value).isprintable():
            raise InvalidSelector("a selector cannot contain control characters")
        if len(self.type.encode()) > MAX_TYPE_BYTES or len(self.value.encode()) > MAX_VALUE_BYTES:
            raise InvalidSelector(
                f"a selector's type is at most {MAX_TYPE_BYTES} and its value at most {MAX_VALUE_BYTES} bytes"
            )

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read ``type:value``; the value may contain colons. Raises InvalidSelector."""
        kind, _, value = text.partition(":")
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.type}:{self.value}"


Selectors = frozenset[Selector]


def parse_selectors(texts: Iterable[str]) -> Selectors:
    """Read several ``type:value`` texts into a set. Raises InvalidSelector for the first bad one."""
    return frozenset(Selector.parse(text) for text in texts)
