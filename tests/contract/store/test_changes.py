"""The feed's table: order of commit, pruning, epochs."""

from __future__ import annotations

import asyncio
import threading
import time

import psycopg
import pytest

from sds.store.change_records import Change, FeedState
from sds.store.records import ChangeKind
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import later
from tests.fakes.clock import EPOCH, FakeClock


async def note(store: Store, *keys: str) -> None:
    def work(unit: UnitOfWork) -> None:
        for key in keys:
            unit.changes.append(ChangeKind.ENTRY, key, "parent")

    await store.write(work)


async def test_changes_come_in_order_and_once_a_transaction(store: Store) -> None:
    await note(store, "a", "b", "a")
    await note(store, "a")
    batch = await store.read(lambda unit: unit.changes.since(0))
    assert batch.changes == (
        Change(1, ChangeKind.ENTRY, "a", "parent"),
        Change(2, ChangeKind.ENTRY, "b", "parent"),
        Change(3, ChangeKind.ENTRY, "a", "parent"),
    )
    assert batch.last == 3
    assert (await store.read(lambda unit: unit.changes.since(1, 1))).last == 2
    assert await store.read(lambda unit: unit.changes.since(3)) == type(batch)((), 3)


async def test_the_epoch_is_random_and_stays(store: Store) -> None:
    state = await store.read(lambda unit: unit.changes.state())
    assert state == FeedState(state.epoch, 0, 0)
    assert len(state.epoch) == 32
    await note(store, "a")
    assert await store.read(lambda unit: unit.changes.state()) == FeedState(state.epoch, 0, 1)


async def test_pruning_moves_the_oldest_place_and_never_reuses_numbers(store: Store, clock: FakeClock) -> None:
    await note(store, "a")
    await note(store, "b")
    clock.advance(10)
    await note(store, "c")
    assert await store.write(lambda unit: unit.changes.prune(EPOCH)) == 0
    assert await store.write(lambda unit: unit.changes.prune(later(10))) == 2
    state = await store.read(lambda unit: unit.changes.state())
    assert (state.oldest, state.newest) == (2, 3)
    assert await store.write(lambda unit: unit.changes.prune(later(11))) == 1
    assert await store.write(lambda unit: unit.changes.prune(later(11))) == 0
    state = await store.read(lambda unit: unit.changes.state())
    assert (state.oldest, state.newest) == (3, 3)
    await note(store, "d")
    assert [c.seq for c in (await store.read(lambda unit: unit.changes.since(3))).changes] == [4]


async def test_a_prefix_is_pruned_even_when_the_clock_went_back(store: Store, clock: FakeClock) -> None:
    clock.advance(100)
    await note(store, "from the future")
    clock.jump(-100)
    await note(store, "a")
    assert await store.write(lambda unit: unit.changes.prune(later(50))) == 0  # "a" is behind one that must stay
    await store.write(lambda unit: unit.changes.prune(later(101)))
    assert (await store.read(lambda unit: unit.changes.since(0))).changes == ()


async def test_a_rolled_back_change_is_not_told(store: Store) -> None:
    def work(unit: UnitOfWork) -> None:
        unit.changes.append(ChangeKind.ENTRY, "a")
        unit.changes.flush()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await store.write(work)
    assert (await store.read(lambda unit: unit.changes.since(0))).changes == ()


async def test_without_the_lock_numbers_commit_out_of_order(postgres_cluster, postgresql_url: str) -> None:
    """The control: this is what the advisory lock is there to prevent. If it fails, the next test proves nothing."""
    insert = "INSERT INTO changes (kind, key, parent, at) VALUES ('entry', 'k', '', 0) RETURNING seq"
    with (
        psycopg.connect(postgresql_url) as slow,
        psycopg.connect(postgresql_url) as quick,
        psycopg.connect(postgresql_url, autocommit=True) as reader,
    ):
        assert slow.execute(insert).fetchone() == (1,)
        assert quick.execute(insert).fetchone() == (2,)
        quick.commit()
        assert reader.execute("SELECT seq FROM changes").fetchall() == [(2,)]  # who remembers 2 now misses 1 for good


async def test_a_slow_transaction_holds_later_numbers_back(store: Store) -> None:
    """A writes to the feed and dawdles; B wants to. B must not be visible, nor have a number, before A is."""
    drawn, go_on = threading.Event(), threading.Event()

    def slow(unit: UnitOfWork) -> None:
        unit.changes.append(ChangeKind.ENTRY, "slow")
        unit.changes.flush()
        drawn.set()
        assert go_on.wait(10)

    first = asyncio.create_task(store.write(slow))
    assert await asyncio.to_thread(drawn.wait, 10)
    second = asyncio.create_task(note(store, "quick"))
    await asyncio.sleep(0.2)
    assert not second.done()
    assert (await store.read(lambda unit: unit.changes.since(0))).changes == ()
    go_on.set()
    await asyncio.gather(first, second)
    assert [c.key for c in (await store.read(lambda unit: unit.changes.since(0))).changes] == ["slow", "quick"]


async def test_a_snapshot_and_its_place_belong_together(store: Store) -> None:
    """Whatever commits between the statements of one reading unit of work is not seen by either."""
    await note(store, "a")
    between, go_on = threading.Event(), threading.Event()

    def snapshot(unit: UnitOfWork) -> tuple[int, int]:
        changes = len(unit.changes.since(0).changes)
        between.set()
        assert go_on.wait(10)
        return changes, unit.changes.state().newest

    reading = asyncio.create_task(store.read(snapshot))
    assert await asyncio.to_thread(between.wait, 10)
    await note(store, "b")
    go_on.set()
    assert await reading == (1, 1)


async def test_a_follower_misses_nothing_under_concurrent_slow_writers(store: Store) -> None:
    written: list[str] = []

    async def writer(number: int) -> None:
        for turn in range(10):
            key = f"{number}.{turn}"

            def work(unit: UnitOfWork, key=key, turn=turn, number=number) -> None:
                if turn % 2:
                    unit.settings.put(f"row-{number}", key)  # locks and writes of its own, before and after
                unit.changes.append(ChangeKind.ENTRY, key)
                unit.changes.flush()
                time.sleep(0.003 * ((turn + number) % 3))
                if turn % 4 == 3:
                    raise RuntimeError("rolled back: leaves a gap")

            try:
                await store.write(work)
                written.append(key)
            except RuntimeError:
                continue

    seen: list[Change] = []

    async def follow() -> None:
        async for batch in store.feed().follow(0):
            seen.extend(batch.changes)
            if seen[-1].key == "end":
                return

    followers = asyncio.create_task(follow())
    await asyncio.gather(*(writer(number) for number in range(4)))
    await note(store, "end")
    await asyncio.wait_for(followers, 20)
    assert [change.seq for change in seen] == sorted({change.seq for change in seen})
    assert [change.key for change in seen[:-1]] == sorted(written, key=[c.key for c in seen].index)
    assert len(seen) == len(written) + 1 == 33
