"""How many streams are open at once, over all services and connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sds.delivery.errors import LimitExceeded

TOO_MANY = "too many open streams, try again later"


class Places:
    """Shared by the services of one server."""

    __slots__ = ("_limit", "_taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @property
    def full(self) -> bool:
        """Whether `one` would raise."""
        return self._taken >= self._limit

    @contextmanager
    def one(self) -> Iterator[None]:
        """A stream's place while it lasts, from before its caller is known. Raises LimitExceeded."""
        if self.full:
            raise LimitExceeded(TOO_MANY)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
