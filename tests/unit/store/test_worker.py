"""Handing results from a worker thread to callers, and following the feed without spinning."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sds.store.change_records import Change, ChangeBatch, FeedState
from sds.store.errors import Reason, StoreUnavailable
from sds.store.feed import ChangeFeed
from sds.store.records import ChangeKind
from sds.store.wakeups import Wakeups
from sds.store.worker import Done, Job, settle
from tests.fakes.wait import until


def job() -> Job[Any]:
    return Job(lambda connection: Done(None))


async def test_each_caller_gets_its_own() -> None:
    jobs = [job() for _ in range(3)]
    failure = ValueError("mine")
    thread = threading.Thread(target=settle, args=([(jobs[0], Done(1)), (jobs[1], failure), (jobs[2], Done(3))],))
    thread.start()
    assert await jobs[0].future == 1
    with pytest.raises(ValueError, match="mine"):
        await jobs[1].future
    assert await jobs[2].future == 3
    thread.join()


async def test_a_caller_that_went_away_is_passed_over() -> None:
    jobs = [job(), job()]
    jobs[0].future.cancel()
    assert jobs[0].abandoned
    settle([(jobs[0], Done(1)), (jobs[1], Done(2))])
    assert await jobs[1].future == 2


def test_a_loop_that_is_closed_stops_nobody_else() -> None:
    async def make() -> Job[Any]:
        return job()

    gone = asyncio.run(make())

    async def here() -> int:
        mine = job()
        settle([(gone, Done(1)), (mine, Done(2))])
        return int(await mine.future)

    assert asyncio.run(here()) == 2


async def test_waking_reaches_every_subscriber_until_it_leaves() -> None:
    wakeups = Wakeups()
    with wakeups.subscribe() as one:
        with wakeups.subscribe() as two:
            threading.Thread(target=wakeups.wake).start()
            await asyncio.wait_for(asyncio.gather(one.wait(), two.wait()), 5)
        one.clear()
        two.clear()
        wakeups.wake()
        await asyncio.wait_for(one.wait(), 5)
        assert not two.is_set()
        one.clear()
    wakeups.wake()
    await asyncio.sleep(0)
    assert not one.is_set()


class FakeStore:
    """Reads of a feed that a test fills; `trouble` is raised as long as it is set."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.reads = 0
        self.trouble: StoreUnavailable | None = None
        self.changes = self

    async def read(self, work: Callable[[Any], Any]) -> Any:
        self.reads += 1
        if self.trouble is not None:
            raise self.trouble
        return work(self)

    def state(self) -> FeedState:
        return FeedState("epoch", 0, len(self.keys))

    def since(self, after: int) -> ChangeBatch:
        found = tuple(Change(n + 1, ChangeKind.ENTRY, key) for n, key in enumerate(self.keys) if n >= after)
        return ChangeBatch(found, len(self.keys))


async def test_an_idle_follower_reads_only_when_woken() -> None:
    store, wakeups = FakeStore(), Wakeups()
    batches = ChangeFeed(store.read, wakeups, 60).follow(0)
    waiting = asyncio.create_task(anext(batches))
    await asyncio.sleep(0.05)
    assert store.reads == 1
    wakeups.wake()  # for nothing
    await asyncio.sleep(0.05)
    assert store.reads == 2
    store.keys.append("a")
    wakeups.wake()
    assert (await waiting).last == 1
    waiting = asyncio.create_task(anext(batches))
    await asyncio.sleep(0.05)
    assert store.reads == 4
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_what_commits_while_the_follower_reads_is_not_slept_over() -> None:
    store, wakeups = FakeStore(), Wakeups()

    async def read(work: Callable[[Any], Any]) -> Any:
        found = await store.read(work)
        if not store.keys:  # committed after this read's snapshot, before the follower comes to wait
            store.keys.append("a")
            wakeups.wake()
        return found

    batches = ChangeFeed(read, wakeups, 60).follow(0)
    assert (await asyncio.wait_for(anext(batches), 5)).last == 1
    await batches.aclose()


async def test_a_follower_outlives_a_database_that_is_away() -> None:
    store, wakeups = FakeStore(), Wakeups()
    store.trouble = StoreUnavailable(Reason.LOST)
    batches = ChangeFeed(store.read, wakeups, 0.01).follow(0)
    started = time.monotonic()
    waiting = asyncio.create_task(anext(batches))
    await until(lambda: store.reads >= 3)
    assert not waiting.done()
    assert store.reads <= 1 + (time.monotonic() - started) / 0.01, "no more often than it polls"
    store.keys.append("a")
    store.trouble = None
    assert (await asyncio.wait_for(waiting, 5)).last == 1
    store.trouble = StoreUnavailable(Reason.CLOSED)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(anext(batches), 5)
