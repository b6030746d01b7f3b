"""What waits for the server: in memory until it is written, and on disk until it was taken in.

When the disk is full or fails, what is in memory goes to the server directly. When both are full what comes is dropped,
and what is there stays; its numbers are then missing, which the server sees and writes down.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from sds._pb.sds.node.v1 import node_pb2
from sds.agent.spool.disk import Portion, SpoolDisk, SpoolFull
from sds.logs import Logger
from sds.side_thread import Busy, SideThread

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that one use of the disk may take before it counts as failing."""
RETRY = 5.0
"""Seconds between two tries to write to a disk that fails."""
_GATHER = 0.05
"""Seconds in which events come together for one write."""
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events of one run, for one report. `through`, `cut`: as in ReportDeliveryRequest. `more`: others wait.

    `portion` says what of the disk it is; None: of memory.
    """

    run_id: str
    events: tuple[node_pb2.DeliveryEvent, ...]
    through: int
    cut: bool
    more: bool
    portion: Portion | None = None


class SpoolObserver(Protocol):
    def spool(self, events: int, size: int, failing: bool) -> None:
        """How many events wait on disk, their bytes, and whether it cannot be used now."""
        ...


class MemoryBacklog:
    """Events in memory alone: what an agent without a spool has."""

    def __init__(self, run_id: str, queue: int) -> None:
        self._run_id = run_id
        self._queue = queue
        self._events: deque[tuple[int, bytes]] = deque()

    def put(self, number: int, payload: bytes) -> bool:
        """False: there is no room."""
        if len(self._events) >= self._queue:
            return False
        self._events.append((number, payload))
        return True

    async def next(self, limit: int, given: int) -> Waiting:
        """Takes the oldest out. `given`: all numbers up to this one have been put, or dropped."""
        taken = [self._events.popleft() for _ in range(min(len(self._events), limit))]
        return _of_memory(self._run_id, taken, given, more=bool(self._events))

    async def taken(self, waiting: Waiting) -> None:
        """The server has these."""

    async def run(self) -> None:
        """There is nothing to be done beside."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """What was not told is lost with the process."""


class SpoolBacklog:
    """Events in the data folder. `queue` bounds what is in memory, `max_events` and `max_bytes` all of it."""

    def __init__(
        self,
        folder: Path,
        run_id: str,
        *,
        queue: int,
        max_events: int,
        max_bytes: int,
        observer: SpoolObserver,
        log: Logger,
    ) -> None:
        self._open_disk = partial(SpoolDisk, folder, run_id, max_bytes)
        self._run_id = run_id
        self._queue = queue
        self._max_events = max_events
        self._observer = observer
        self._log = log
        self._disk: SpoolDisk | None = None
        self._thread = SideThread("spool")
        self._pending: deque[tuple[int, bytes]] = deque()
        self._on_disk = 0
        self._failing = False
        self._wake = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def put(self, number: int, payload: bytes) -> bool:
        """Never waits. False: there is no room."""
        if len(self._pending) >= self._queue or len(self._pending) + self._on_disk >= self._max_events:
            return False
        self._pending.append((number, payload))
        self._wake.set()
        return True

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(RETRY if self._failing else _GATHER)
            async with self._one_at_a_time:
                await self._flush()

    async def next(self, limit: int, given: int) -> Waiting:
        """The oldest, which stay where they are until `taken`. `given`: all numbers up to this were put, or dropped."""
        async with self._one_at_a_time:
            if not self._failing:
                await self._flush()
            portion = await self._try(lambda disk: disk.read(limit))
            if portion is None:
                taken = [event for event, _ in zip(self._pending, range(limit), strict=False)]
                rest = bool(self._pending) and self._pending[-1][0] > (taken[-1][0] if taken else 0)
                return _of_memory(self._run_id, taken, given, more=rest)
            return self._of_disk(portion, given)

    async def taken(self, waiting: Waiting) -> None:
        """The server has these. A disk that cannot forget them now brings them again; the server knows them."""
        async with self._one_at_a_time:
            portion = waiting.portion
            if portion is not None:
                await self._try(lambda disk: disk.taken(portion))
            elif waiting.events:
                self._forget(waiting.events[-1].number)
            await self._tell()

    async def close(self) -> None:
        """Write what is left, and that this run has ended by itself. Bounded."""
        async with self._one_at_a_time:
            while self._pending and not self._failing:
                await self._flush()
            if not self._pending:
                await self._try(lambda disk: disk.end())
        self._thread.close()

    def _of_disk(self, portion: Portion, given: int) -> Waiting:
        events = tuple(_parsed(record.number, record.payload) for record in portion.records)
        if portion.run != self._run_id:
            through = portion.through or (portion.records[-1].number if portion.records else 0)
            return Waiting(portion.run, events, through, portion.cut, more=True, portion=portion)
        through = portion.records[-1].number if portion.records else 0
        all_told = not portion.more and not self._pending
        through = max(given, through) if all_told else through
        return Waiting(portion.run, events, through, cut=False, more=not all_told, portion=portion)

    async def _flush(self) -> None:
        batch = [event for event, _ in zip(self._pending, range(_BATCH), strict=False)]
        if not batch:
            return
        if await self._try(lambda disk: _appended(disk, batch)):
            if self._failing:
                self._log.info("the spool of audit events can be used again")
            self._failing = False
            self._forget(batch[-1][0])
        if self._pending:
            self._wake.set()
        await self._tell()

    def _forget(self, number: int) -> None:
        while self._pending and self._pending[0][0] <= number:
            self._pending.popleft()

    async def _try(self, work: Callable[[SpoolDisk], T]) -> T | None:
        """What `work` makes of the disk; None where it cannot be used, which is said once."""
        try:
            return await self._thread.run(lambda: work(self._opened()), PATIENCE)
        except SpoolFull:
            self._failed("it holds as much as it may (spool.max_bytes)")
        except (TimeoutError, Busy):
            self._failed("the disk does not answer")
        except OSError as error:
            self._failed(error.strerror or type(error).__name__)
        return None

    def _opened(self) -> SpoolDisk:
        """Runs in the thread."""
        if self._disk is None:
            self._disk = self._open_disk()
        return self._disk

    def _failed(self, reason: str) -> None:
        if not self._failing:
            self._log.error("the spool of audit events cannot be used; they are kept in memory", reason=reason)
        self._failing = True
        self._wake.set()

    async def _tell(self) -> None:
        if self._disk is not None and not self._thread.busy:
            self._on_disk = self._disk.records
            self._observer.spool(self._on_disk, self._disk.size, self._failing)
        else:
            self._observer.spool(self._on_disk, 0, self._failing)


def _appended(disk: SpoolDisk, batch: list[tuple[int, bytes]]) -> bool:
    disk.append(batch)
    return True


def _of_memory(run_id: str, taken: list[tuple[int, bytes]], given: int, *, more: bool) -> Waiting:
    last = taken[-1][0] if taken else 0
    through = last if more else max(given, last)
    return Waiting(run_id, tuple(_parsed(number, payload) for number, payload in taken), through, cut=False, more=more)


def _parsed(number: int, payload: bytes) -> node_pb2.DeliveryEvent:
    event = node_pb2.DeliveryEvent.FromString(payload)
    event.number = number
    return event
