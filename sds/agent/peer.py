"""Who stands behind a connection: kernel credentials first, then the workload attestors, then again and again.

Implements delivery's Callers.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

from attestation.attestor import Process, WorkloadAttestor
from attestation.errors import AttestationRefused
from attestation.selector import Selectors
from sds.agent.cache import Cache
from sds.agent.workload import Memory, Wants, Workload
from sds.clock import Clock
from sds.delivery.errors import LimitExceeded
from sds.net.limits import Caps
from sds.net.process import LocalProcess
from sds.net.relay import Connection


class WorkloadObserver(Protocol):
    """Is told, on the loop, what attestation found. Must neither block nor raise."""

    def attested(self, workload: Workload) -> None:
        """Every time, also when it is done again."""
        ...

    def matched(self, workload: Workload) -> None:
        """Entries match; told when it is found, and again when the process has other selectors."""
        ...

    def unmatched(self, workload: Workload) -> None:
        """No entry matches; told as `matched` is."""
        ...

    def refused(self, process: Process, reason: str) -> None: ...

    def limited(self, process: Process) -> None:
        """Its user has as many streams open as one user may."""
        ...

    def broke(self, process: Process, error: Exception) -> None:
        """A mistake of ours: attestation itself failed."""
        ...


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """`share_for`: how long one attestation serves new streams of the same process.

    `patience`: how long a new stream waits for its process's first certificate before it is told that there is none.
    """

    reattest_interval: timedelta = timedelta(minutes=1)
    share_for: timedelta = timedelta(seconds=1)
    patience: timedelta = timedelta(seconds=5)
    concurrency: int = 16
    streams_per_uid: int = 20_000


class _Tracked:
    """One process with at least one connection that asked for something."""

    __slots__ = ("attested_at", "connections", "process", "refused_at", "task", "told", "workload")

    def __init__(self, process: LocalProcess, memory: Memory, streams: Caps, wants: Wants) -> None:
        self.process = process
        self.workload = Workload(process.identity, memory, streams, wants)
        self.connections: set[str] = set()  # by name: each relay counts for itself
        self.attested_at: float | None = None  # monotonic seconds
        self.refused_at: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.told: tuple[Selectors, bool] | None = None  # which selectors, and whether an entry matched


class LocalCallers:
    """Everything happens on the loop's thread but the attestors, which run in `executor`."""

    def __init__(
        self,
        lookup: Callable[[str], Connection[LocalProcess] | None],
        attestor: WorkloadAttestor,
        cache: Cache,
        memory: Memory,
        observer: WorkloadObserver,
        clock: Clock,
        executor: Executor,
        options: PeerOptions = PeerOptions(),
        container_of: Callable[[Process], str] = lambda _process: "",
    ) -> None:
        """`container_of` names a process's container; it may block, and is asked where the attestor is."""
        self._container_of = container_of
        self._lookup = lookup
        self._attestor = attestor
        self._cache = cache
        self._memory = memory
        self._observer = observer
        self._clock = clock
        self._executor = executor
        self._options = options
        self._streams = Caps(total=sys.maxsize, per_key=options.streams_per_uid)  # by user
        self._slots = asyncio.Semaphore(options.concurrency)
        self._tracked: OrderedDict[Process, _Tracked] = OrderedDict()  # the longest ago attested first
        self._by_connection: dict[str, _Tracked] = {}
        self._arrived = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self._cache.synced

    async def identify(self, peer: str) -> Workload:
        """The process behind `context.peer()`. Raises AttestationRefused, LimitExceeded.

        A stream counts for its user while it waits here, and then from `watch` on.
        """
        connection = self._lookup(peer)
        if connection is None:
            raise AttestationRefused("this connection did not come through the agent's public socket")
        process = connection.peer.identity
        if self._streams.acquire(process.uid) is not None:
            self._observer.limited(process)
            raise LimitExceeded("this user has too many streams open, try again later")
        try:
            return await self._identify(connection)
        finally:
            self._streams.release(process.uid)

    async def _identify(self, connection: Connection[LocalProcess]) -> Workload:
        tracked = self._track(connection)
        await self._attested(tracked)
        if connection.closed:
            raise AttestationRefused("the caller has left")
        workload = tracked.workload
        while workload.refusal is None and not connection.closed:
            group = workload.group
            await self._cache.settled(group, self._options.patience.total_seconds())
            if group is workload.group:
                break
        self._tell(tracked)
        return workload

    async def attest(self, process: Process) -> Selectors:
        """What `process` proves now, for an operator who asks; nothing is kept. Raises AttestationRefused."""
        return (await self._proved(process))[0]

    def workload(self, pid: int) -> Workload | None:
        """The process with `pid` if it holds a connection."""
        for process, tracked in self._tracked.items():
            if process.pid == pid and tracked.attested_at is not None:
                return tracked.workload
        return None

    def __len__(self) -> int:
        return len(self._tracked)

    async def run(self) -> None:
        """Attest each live process again at every interval, until cancelled."""
        interval = self._options.reattest_interval.total_seconds()
        while True:
            oldest = next((t for t in self._tracked.values() if t.attested_at is not None), None)
            if oldest is None or oldest.attested_at is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            wait = oldest.attested_at + interval - self._clock.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            self._begin(oldest)
            await asyncio.sleep(0)

    def _track(self, connection: Connection[LocalProcess]) -> _Tracked:
        """Count the connection with its process. One that was refused a moment ago is so again without more work."""
        process = connection.peer
        tracked = self._tracked.get(process.identity)
        if tracked is None or (tracked.refused_at is not None and self._stale(tracked.refused_at)):
            tracked = self._tracked[process.identity] = _Tracked(process, self._memory, self._streams, self._cache)
        former = self._by_connection.get(connection.name)
        if former is not tracked:
            self._by_connection[connection.name] = tracked
            tracked.connections.add(connection.name)
            if former is None:
                connection.on_close(partial(self._left, connection.name))
            else:
                self._drop(former, connection.name)
        return tracked

    def _left(self, connection_name: str) -> None:
        self._drop(self._by_connection.pop(connection_name), connection_name)

    def _drop(self, tracked: _Tracked, connection_name: str) -> None:
        tracked.connections.discard(connection_name)
        if not tracked.connections:
            if self._tracked.get(tracked.process.identity) is tracked:
                del self._tracked[tracked.process.identity]
            self._cache.leave(tracked.workload.group, tracked.workload)

    def _stale(self, then: float) -> bool:
        return self._clock.monotonic() - then > self._options.share_for.total_seconds()

    async def _attested(self, tracked: _Tracked) -> None:
        """Until there is an attestation that is fresh enough to share. Raises AttestationRefused."""
        if tracked.workload.refusal is None and (tracked.attested_at is None or self._stale(tracked.attested_at)):
            await asyncio.wait({self._begin(tracked)})
        if tracked.workload.refusal is not None:
            raise AttestationRefused(tracked.workload.refusal)

    def _begin(self, tracked: _Tracked) -> asyncio.Task[None]:
        """Attest, or join in where that is under way."""
        if tracked.task is None or tracked.task.done():
            if tracked.attested_at is not None:
                tracked.attested_at = self._clock.monotonic()
                self._tracked.move_to_end(tracked.process.identity)
            tracked.task = asyncio.create_task(self._attest(tracked))
        return tracked.task

    async def _attest(self, tracked: _Tracked) -> None:
        """Ends with a fresh attestation or with a refusal in the workload."""
        process = tracked.process.identity
        started = self._clock.monotonic()
        try:
            selectors, tracked.workload.container = await self._proved(process)
        except AttestationRefused as refusal:
            self._refuse(tracked, str(refusal))
            return
        except Exception as error:  # noqa: BLE001  # whatever breaks here, the caller gets nothing
            self._observer.broke(process, error)
            self._refuse(tracked, "the agent could not attest this process")
            return
        if not tracked.connections or not tracked.process.alive():
            self._refuse(tracked, "the caller is gone")
            return
        news = tracked.attested_at is None or tracked.workload.selectors != selectors
        if news:
            self._join(tracked.workload, selectors)
        tracked.attested_at = started
        self._arrived.set()
        self._observer.attested(tracked.workload)
        if not news:  # an entry may have come or gone since
            self._tell(tracked)

    async def _proved(self, process: Process) -> tuple[Selectors, str]:
        """What it proves, and its container, which it does not prove. Raises AttestationRefused."""
        async with self._slots:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._look, process)

    def _look(self, process: Process) -> tuple[Selectors, str]:
        return self._attestor.attest(process), self._container_of(process)

    def _join(self, workload: Workload, selectors: Selectors) -> None:
        former = workload.group
        workload.move(self._cache.join(selectors, workload))
        self._cache.leave(former, workload)

    def _refuse(self, tracked: _Tracked, reason: str) -> None:
        """Its streams end, and what it had leaves memory with the last one who has it too."""
        self._observer.refused(tracked.process.identity, reason)
        tracked.attested_at = None
        tracked.refused_at = self._clock.monotonic()
        tracked.workload.refuse(reason)
        self._cache.leave(tracked.workload.group, tracked.workload)

    def _tell(self, tracked: _Tracked) -> None:
        """Say what became of the caller, if that is not known yet."""
        workload = tracked.workload
        found = (workload.selectors, bool(workload.entries))
        if not self._cache.synced or workload.refusal is not None or tracked.told == found:
            return
        tracked.told = found
        if workload.entries:
            self._observer.matched(workload)
        else:
            self._observer.unmatched(workload)
