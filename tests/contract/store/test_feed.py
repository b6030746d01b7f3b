"""Following the feed: woken at once, caught by the polling net, sent to take a snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import psycopg
import pytest

from sds.store.change_records import ChangeBatch
from sds.store.changes import CHANNEL
from sds.store.engines import Limits, parse_url
from sds.store.errors import FeedTruncated, Reason, StoreUnavailable
from sds.store.postgres_backend import PostgresBackend
from sds.store.records import ChangeKind
from sds.store.store import Store, open_store
from sds.store.wakeups import Wakeups
from tests.contract.store.samples import later
from tests.fakes.clock import FakeClock

NEVER_POLLS = Limits(poll_interval=60)
AT_ONCE = 2.0  # seconds; it takes milliseconds, but the machine that runs the tests may be busy


@pytest.fixture
async def replicas(postgresql_url: str, clock: FakeClock) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores on one database; both rely on being woken."""
    one, two = (open_store(postgresql_url, clock=clock, limits=NEVER_POLLS) for _ in range(2))
    yield one, two
    await one.close()
    await two.close()


async def note(store: Store, key: str) -> None:
    await store.write(lambda unit: unit.changes.append(ChangeKind.ENTRY, key))


async def take(batches: AsyncIterator[ChangeBatch]) -> str:
    batch = await asyncio.wait_for(anext(batches), AT_ONCE)
    return batch.changes[-1].key


async def settled(listening: asyncio.Task[str]) -> None:
    """Let a follower come to wait."""
    await asyncio.sleep(0.3)
    assert not listening.done()


async def test_a_commit_wakes_followers_of_the_same_store_at_once(database_url: str, clock: FakeClock) -> None:
    store = open_store(database_url, clock=clock, limits=NEVER_POLLS)
    async with aclosing(store.feed().follow(0)) as one, aclosing(store.feed().follow(0)) as two:
        waiting = [asyncio.create_task(take(it)) for it in (one, two)]
        await settled(waiting[0])
        started = time.monotonic()
        await note(store, "a")
        assert await asyncio.gather(*waiting) == ["a", "a"]
        assert time.monotonic() - started < AT_ONCE
    await store.close()


async def test_a_commit_wakes_followers_of_another_replica_at_once(replicas: tuple[Store, Store]) -> None:
    writer, reader = replicas
    async with aclosing(reader.feed().follow(0)) as batches:
        for turn in range(5):
            waiting = asyncio.create_task(take(batches))
            await settled(waiting)
            await note(writer, f"k{turn}")
            assert await waiting == f"k{turn}"


async def test_a_broken_listener_connects_again(replicas: tuple[Store, Store], postgresql_url: str) -> None:
    writer, reader = replicas
    async with aclosing(reader.feed().follow(0)) as batches:
        waiting = asyncio.create_task(take(batches))
        await settled(waiting)
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sds listener'"
            )
            await note(writer, "while away")  # reconnecting wakes too, so nothing that came meanwhile waits
            assert await waiting == "while away"
            for _ in range(100):
                query = f"SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN {CHANNEL}' AND state = 'idle' AND datname = current_database()"
                if admin.execute(query).fetchone() == (2,):
                    break
                await asyncio.sleep(0.05)
        waiting = asyncio.create_task(take(batches))
        await settled(waiting)
        await note(writer, "again")
        assert await waiting == "again"


async def test_polling_is_the_net_when_notifications_are_lost(postgresql_url: str, clock: FakeClock) -> None:
    limits = Limits(poll_interval=0.1)
    wakeups = Wakeups()
    deaf = Store(PostgresBackend(parse_url(postgresql_url), limits, clock, wakeups.wake), clock, wakeups, limits)
    writer = open_store(postgresql_url, clock=clock)
    async with aclosing(deaf.feed().follow(0)) as batches:
        waiting = asyncio.create_task(take(batches))
        await settled(waiting)
        await note(writer, "a")
        assert await waiting == "a"
    await writer.close()
    await deaf.close()


async def test_a_second_process_on_sqlite_is_noticed_by_polling(sqlite_url: str, clock: FakeClock) -> None:
    store = open_store(sqlite_url, clock=clock, limits=Limits(poll_interval=0.1))
    other = open_store(sqlite_url, clock=clock)  # nothing is shared but the file
    async with aclosing(store.feed().follow(0)) as batches:
        waiting = asyncio.create_task(take(batches))
        await settled(waiting)
        await note(other, "a")
        assert await waiting == "a"
    await other.close()
    await store.close()


async def test_who_is_too_far_behind_or_ahead_must_take_a_snapshot(store: Store, clock: FakeClock) -> None:
    for key in ("a", "b", "c"):
        await note(store, key)
        clock.advance(1)
    await store.write(lambda unit: unit.changes.prune(later(2)))
    for after in (0, 1, 4):
        with pytest.raises(FeedTruncated) as caught:
            await anext(store.feed().follow(after))
        assert (caught.value.oldest, caught.value.newest) == (2, 3)
    state = await store.feed().state()
    with pytest.raises(FeedTruncated):
        await anext(store.feed().follow(3, "another epoch"))
    async with aclosing(store.feed().follow(2, state.epoch)) as batches:
        assert await take(batches) == "c"


async def test_a_follower_that_is_overtaken_by_pruning_is_told(store: Store, clock: FakeClock) -> None:
    async with aclosing(store.feed().follow(0)) as batches:
        await note(store, "a")
        assert await take(batches) == "a"
        clock.advance(1)

        def add_and_prune(unit) -> None:
            unit.changes.append(ChangeKind.ENTRY, "b")
            unit.changes.flush()
            unit.changes.prune(later(60))

        await store.write(add_and_prune)
        with pytest.raises(FeedTruncated):
            await take(batches)


async def test_many_changes_come_in_bounded_batches(store: Store) -> None:
    def work(unit) -> None:
        for number in range(2500):
            unit.changes.append(ChangeKind.ENTRY, f"k{number}")

    await store.write(work)
    sizes = []
    async with aclosing(store.feed().follow(0)) as batches:
        async for batch in batches:
            sizes.append(len(batch.changes))
            if batch.last == 2500:
                break
    assert sizes == [1000, 1000, 500]


async def test_closing_the_store_ends_its_followers(database_url: str, clock: FakeClock) -> None:
    store = open_store(database_url, clock=clock, limits=NEVER_POLLS)
    waiting = asyncio.create_task(take(store.feed().follow(0)))
    await asyncio.sleep(0.2)
    await store.close()
    with pytest.raises(StoreUnavailable) as caught:
        await asyncio.wait_for(waiting, AT_ONCE)
    assert caught.value.reason is Reason.CLOSED


async def test_a_cancelled_follower_leaves_nothing_behind(store: Store) -> None:
    waiting = asyncio.create_task(take(store.feed().follow(0)))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await note(store, "a")
    assert await take(store.feed().follow(0)) == "a", "the next follower is served as if that one had never been"
