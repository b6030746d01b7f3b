"""What every kind of sink does: take a batch, wholly and for good, or say why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sds.audit.sinks.items import Item


class SinkFailed(Exception):
    """The batch was not taken, or nobody knows whether it was: it is handed over again. The message is safe to show."""


class TooLarge(SinkFailed):
    """The batch was not taken for its size: fewer items may fit."""


class Outlet(Protocol):
    """One sink's way out. Used by one task at a time."""

    async def deliver(self, items: Sequence[Item]) -> None:
        """Returns when the receiver has all of it, as far as its kind can tell. Raises SinkFailed. Bounded in time."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads, without waiting for what hangs."""
        ...
