"""Sinks whose system calls may hang: each has a thread of its own, which nobody waits for beyond its time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from sds.audit.sinks.items import Item
from sds.server.audit_sinks.outlet import SinkFailed
from sds.side_thread import Busy, SideThread

_MARGIN = 1.0
"""Seconds that the thread has beyond the delivery's own time, to come back with its reason."""


class Writer(Protocol):
    """Runs in one thread. Both may block."""

    def write(self, items: Sequence[Item], seconds: float) -> None:
        """Raises SinkFailed, also when `seconds` are over; OSError."""
        ...

    def close(self) -> None: ...


class Threaded:
    """Implements Outlet over a Writer."""

    def __init__(self, name: str, writer: Writer, seconds: float) -> None:
        self._writer = writer
        self._seconds = seconds
        self._thread = SideThread(f"sink-{name}")

    async def deliver(self, items: Sequence[Item]) -> None:
        try:
            await self._thread.run(lambda: self._writer.write(items, self._seconds), self._seconds + _MARGIN)
        except Busy:
            raise SinkFailed("the delivery before has not come back yet") from None
        except TimeoutError:
            raise SinkFailed(f"nothing was taken within {self._seconds:g} s") from None
        except OSError as error:
            raise SinkFailed(error.strerror or type(error).__name__) from None

    async def close(self) -> None:
        if not self._thread.busy:
            with suppress(Busy, TimeoutError, OSError):
                await self._thread.run(self._writer.close, _MARGIN)
        self._thread.close()
