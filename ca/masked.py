"""A value that must not be seen: only `reveal()` gives it out."""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

T = TypeVar("T", bound=bytes | str)


class Masked(Generic[T]):
    """Holds a secret. repr, str, format, pickle and copies by reduction never show it; comparing is refused."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The secret itself. The files that call this are counted by a test."""
        return self._value

    def __repr__(self) -> str:
        return "Masked(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a masked value cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a masked value has no state to show")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("a masked value cannot be compared; compare digests")

    __hash__ = None  # type: ignore[assignment]
