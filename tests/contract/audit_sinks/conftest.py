from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest

from sds.audit.sinks.items import Item, Leaf, Signed
from sds.backoff import Backoff
from sds.server.audit_sinks.feeder import Feeder, FeedParts, SinkPlan
from sds.server.audit_sinks.outlet import Outlet, SinkFailed, TooLarge
from sds.server.audit_sinks.watch import LedgerWatch, SinkStanding
from sds.server.events import Events
from sds.store.store import Store
from tests.contract.store.samples import event
from tests.fakes.audit_tree import sequence
from tests.fakes.clock import FakeClock


class Recorder:
    """An outlet that keeps what it is given; `problem` set, it takes nothing."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.batches: list[int] = []
        self.problem = ""
        self.most = 10**6
        self.hung = asyncio.Event()
        self.hung.set()
        self.closed = False

    async def deliver(self, items: Sequence[Item]) -> None:
        await self.hung.wait()
        if self.problem:
            raise SinkFailed(self.problem)
        if len(items) > self.most:
            raise TooLarge("too many")
        self.items.extend(items)
        self.batches.append(len(items))

    async def close(self) -> None:
        self.closed = True

    @property
    def leaves(self) -> list[int]:
        return [item.leaf for item in self.items if isinstance(item, Leaf)]

    @property
    def checkpoints(self) -> list[int]:
        return [item.size for item in self.items if isinstance(item, Signed)]


class Observed:
    def __init__(self) -> None:
        self.standing: dict[str, SinkStanding] = {}
        self.counts = {"delivered": 0, "failed": 0}

    def sink(self, standing: SinkStanding) -> None:
        self.standing[standing.name] = standing

    def delivered(self, sink: str, events: int) -> None:
        self.counts["delivered"] += events

    def failed(self, sink: str) -> None:
        self.counts["failed"] += 1


class Kit:
    """A store with events, and sinks that are fed from it."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.observed = Observed()
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}

    async def append(self, count: int, **changes) -> int:
        await self.store.write(lambda unit: unit.audit.append_all(event(**changes) for _ in range(count)))
        return await sequence(self.store)

    def feeder(self, outlet: Outlet, holder: str = "a", batch: int = 100, *, newest: bool = False) -> Feeder:
        """Runs until the test ends or `kill` is called."""
        watch = LedgerWatch(self.store, ["s"], self.clock, self.observed)
        parts = FeedParts(self.store, Events("host"), watch, self.clock, self.observed, holder)
        backoff = Backoff(timedelta(milliseconds=5), timedelta(milliseconds=20))
        plan = SinkPlan("s", "file", batch, newest, timedelta(seconds=5), backoff)
        feeder = Feeder(plan, outlet, parts)
        self.tasks[holder] = [asyncio.create_task(feeder.run()), asyncio.create_task(watch.run())]
        return feeder

    async def kill(self, holder: str = "a") -> None:
        tasks = self.tasks.pop(holder)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def told(self, action: str, detail: str = "") -> list:
        """Events of this action, with that detail if one is named; waits for the first."""
        async with asyncio.timeout(60):
            while True:
                stored = await self.store.read(lambda unit: unit.audit.tail(0, 1000))
                events = [each.event for each in stored if each.event.action == action]
                if found := [each for each in events if not detail or detail in each.details]:
                    return found
                await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[], object]) -> None:
        """While events that the server itself makes are sequenced, as on a running server."""
        async with asyncio.timeout(60):
            while not condition():
                await sequence(self.store)
                await asyncio.sleep(0.02)


@pytest.fixture
async def kit(store: Store, clock: FakeClock) -> AsyncIterator[Kit]:
    made = Kit(store, clock)
    yield made
    for holder in list(made.tasks):
        await made.kill(holder)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
