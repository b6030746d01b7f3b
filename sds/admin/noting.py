"""Who reads what, in the audit log: once in a while for the same again, bounded for who asks ever different things.

What is sensitive is not read unless it is noted. Of all else the log is best effort: a security team must be able to
look at a server whose database is away. What was missed is counted, and the next event says how much it was.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from sds.admin.services import AdminCall, AuditAdmin
from sds.admin.services.audit import Reading
from sds.audit.event import Outcome
from sds.logs import get_logger
from sds.store.errors import StoreUnavailable

READ_AGAIN = timedelta(minutes=10)
"""Following a log is one act of reading, not one a request."""
DIFFERENT = 100
"""Readings of one operation by one caller within that time; what is not sensitive is then summed up in one event."""
PATIENCE = 1.0
"""Seconds that a read waits to be noted, unless it is sensitive. What takes longer is written all the same."""
PAUSE = 10.0
"""Seconds without a try after the database was away, and without waiting after it was slow: reads go on at once."""
_MAX_READ = 16384
_MAX_WINDOWS = 4096

_MAX_WRITING = 64

_Key = tuple[str, str, bytes]
log = get_logger(__name__)


@dataclass(slots=True)
class _Window:
    since: float
    count: int = 0


def _uncounted() -> None:
    pass


class Noting:
    """For one server process, whose requests all pass here; `monotonic` in seconds."""

    def __init__(self, audit: AuditAdmin, monotonic: Callable[[], float], patience: float = PATIENCE) -> None:
        self._audit = audit
        self._monotonic = monotonic
        self._patience = patience
        self._read: OrderedDict[_Key, float] = OrderedDict()
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()
        self._pending: set[_Key] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self._hurry_until = float("-inf")
        self._quiet_until = float("-inf")
        self._missed = 0
        self.missed: Callable[[], None] = _uncounted
        """Is told of each reading that could not be noted."""

    async def sensitive(self, call: AdminCall, reading: Reading) -> None:
        """Before it is read. Raises what the store raises: it must not be read then."""
        key, now = _key(call, reading), self._monotonic()
        if not self._known(key, now):
            await self._audit.noted(call, reading)
            self._remember(key, now)

    async def usual(self, call: AdminCall, reading: Reading) -> bool:
        """Whether it stands in the log, as it is and durably. Never raises for a store that is away."""
        key, now = _key(call, reading), self._monotonic()
        if self._known(key, now):
            return key not in self._pending
        window = self._window(call, reading.operation, now)
        window.count += 1
        if window.count > DIFFERENT + 1:
            return False
        if window.count > DIFFERENT:
            reading = Reading(reading.operation, more_than=DIFFERENT)
        return await self._try(call, reading, window, now) and not reading.more_than

    async def ended(self, call: AdminCall, operation: str, target: str, status: int) -> None:
        """What would have changed something, was answered with an error, and has left no event of its own."""
        outcome = Outcome.FAILURE if status >= 500 else Outcome.REFUSED
        try:
            await self._audit.refused(call, operation, target, f"answered with status {status}", outcome=outcome)
        except Exception as error:  # noqa: BLE001  # nothing was changed: the answer comes first
            log.warning("a refusal could not be audited", action=operation, error=type(error).__qualname__)

    def _known(self, key: _Key, now: float) -> bool:
        then = self._read.get(key)
        return then is not None and now - then < READ_AGAIN.total_seconds()

    def _remember(self, key: _Key, now: float) -> None:
        self._read[key] = now
        self._read.move_to_end(key)
        if len(self._read) > _MAX_READ:
            self._read.popitem(last=False)

    def _window(self, call: AdminCall, operation: str, now: float) -> _Window:
        key = (call.caller.id, operation)
        window = self._windows.get(key)
        if window is None or now - window.since >= READ_AGAIN.total_seconds():
            window = self._windows[key] = _Window(now)
            self._windows.move_to_end(key)
            if len(self._windows) > _MAX_WINDOWS:
                self._windows.popitem(last=False)
        return window

    async def _try(self, call: AdminCall, reading: Reading, window: _Window, now: float) -> bool:
        if now < self._quiet_until or len(self._writing) >= _MAX_WRITING:
            window.count -= 1
            self._lost()
            return False
        key, before, self._missed = _key(call, reading), self._missed, 0
        self._remember(key, now)
        self._pending.add(key)
        writing = asyncio.create_task(self._audit.noted(call, replace(reading, missed=before)), name="note a reading")
        self._writing.add(writing)
        writing.add_done_callback(lambda task: self._written(task, key, window, before))
        await asyncio.wait({writing}, timeout=0 if now < self._hurry_until else self._patience)
        if not writing.done():
            self._hurry_until = self._monotonic() + PAUSE
            return False
        return not writing.cancelled() and writing.exception() is None

    def _written(self, task: asyncio.Task[None], key: _Key, window: _Window, before: int) -> None:
        """Also when nobody waits for it any more."""
        self._writing.discard(task)
        self._pending.discard(key)
        error = None if task.cancelled() else task.exception()
        if not task.cancelled() and error is None:
            return
        log.warning("who reads what could not be noted", error=type(error).__qualname__)
        if isinstance(error, StoreUnavailable):
            self._quiet_until = self._monotonic() + PAUSE
        self._read.pop(key, None)
        window.count -= 1
        self._missed += before
        self._lost()

    def _lost(self) -> None:
        self._missed += 1
        self.missed()


def _key(call: AdminCall, reading: Reading) -> _Key:
    """A digest, so that what callers choose takes little memory."""
    told = f"{reading.more_than} {len(reading.target)} {reading.target}{reading.asked}".encode()
    return call.caller.id, reading.operation, hashlib.sha256(told).digest()
