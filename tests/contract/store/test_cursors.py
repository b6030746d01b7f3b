"""Cursors of the audit log's sinks: one holder at a time, in order, and what retention has to keep."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sds.store.ledger.cursors import SinkCursor
from sds.store.store import Store
from tests.contract.store.samples import AGENT, event
from tests.fakes.audit_tree import note, prune, sequence
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)


async def claim(store: Store, holder: str, *, newest: bool = False) -> SinkCursor | None:
    return await store.write(lambda unit: unit.cursors.claim("s", holder, unit.now + LEASE, newest=newest))


async def advance(store: Store, holder: str, leaf: int, checkpoint: int = 0) -> bool:
    return await store.write(lambda unit: unit.cursors.advance("s", holder, unit.now + LEASE, leaf, checkpoint))


async def append(store: Store, count: int) -> None:
    await store.write(lambda unit: unit.audit.append_all(event() for _ in range(count)))


async def test_one_process_holds_a_cursor_until_its_time_is_over(store: Store, clock: FakeClock) -> None:
    mine = await claim(store, "a")
    assert mine is not None
    assert (mine.leaf, mine.checkpoint, mine.holder) == (0, 0, "a")
    assert await claim(store, "b") is None
    assert await claim(store, "a") is not None
    clock.advance(31)
    assert (await claim(store, "b")).holder == "b"
    assert not await advance(store, "a", 5)
    assert await advance(store, "b", 5)
    await store.write(lambda unit: unit.cursors.release("s", "a"))  # not a's to let go
    assert await claim(store, "a") is None
    await store.write(lambda unit: unit.cursors.release("s", "b"))
    assert (await claim(store, "a")).leaf == 5


async def test_a_cursor_never_goes_back(store: Store) -> None:
    await claim(store, "a")
    assert await advance(store, "a", 5, 4)
    assert not await advance(store, "a", 4, 4)
    (cursor,) = await store.read(lambda unit: unit.cursors.all())
    assert (cursor.leaf, cursor.checkpoint) == (5, 4)


async def test_a_new_sink_begins_with_what_is_kept_or_with_what_comes(store: Store) -> None:
    await append(store, 5)
    await sequence(store)
    await prune(store, 2)
    assert (await claim(store, "a")).leaf == 2
    new = await store.write(lambda unit: unit.cursors.claim("t", "a", unit.now + LEASE, newest=True))
    assert (new.leaf, new.checkpoint) == (5, 5)


async def test_a_problem_is_news_once_and_goes_with_a_delivery(store: Store, clock: FakeClock) -> None:
    await claim(store, "a")
    assert await store.write(lambda unit: unit.cursors.fail("s", "a", "no"))
    since = clock.now()
    clock.advance(5)
    assert not await store.write(lambda unit: unit.cursors.fail("s", "a", "still no"))
    assert not await store.write(lambda unit: unit.cursors.fail("s", "b", "not held"))
    (cursor,) = await store.read(lambda unit: unit.cursors.all())
    assert (cursor.problem, cursor.problem_since) == ("still no", since)
    await advance(store, "a", 1)
    (cursor,) = await store.read(lambda unit: unit.cursors.all())
    assert (cursor.problem, cursor.problem_since, cursor.delivered_at) == ("", None, clock.now())


async def test_retention_keeps_what_the_last_of_the_named_sinks_lacks(store: Store) -> None:
    async def lowest(*names: str) -> int | None:
        return await store.read(lambda unit: unit.cursors.lowest(names))

    await claim(store, "a")
    await advance(store, "a", 7)
    assert await lowest() is None
    assert await lowest("s") == 7
    assert await lowest("s", "never-served") == 0


async def test_leaves_and_checkpoints_are_read_in_order(store: Store) -> None:
    await append(store, 3)
    assert await sequence(store) == 3
    await append(store, 2)
    assert await sequence(store) == 5
    leaves = await store.read(lambda unit: unit.cursors.leaves(1, 3))
    assert [leaf.leaf for leaf in leaves] == [1, 2, 3]
    assert all(leaf.canonical for leaf in leaves)
    checkpoints = await store.read(lambda unit: unit.cursors.checkpoints(0, 4, 10))
    assert [(each.size, each.note) for each in checkpoints] == [(3, note(3))]
    heads = await store.read(lambda unit: unit.cursors.heads())
    assert (heads.leaves, heads.checkpoint.size, heads.pruned) == (5, 5, 0)
    await prune(store, 5)
    heads = await store.read(lambda unit: unit.cursors.heads())
    assert (heads.leaves, heads.pruned) == (5, 5)


@pytest.mark.parametrize("runs", [1, 20])
async def test_events_of_agents_are_counted_by_run(store: Store, clock: FakeClock, runs: int) -> None:
    agent_id = AGENT
    for run in range(runs):
        clock.advance(1)
        await store.write(lambda unit, run=run: unit.agent_events.set_position(agent_id, f"r{run}", run + 1))

    async def position(run: int) -> int:
        return await store.read(lambda unit: unit.agent_events.position(agent_id, f"r{run}"))

    assert await position(runs - 1) == runs
    assert await position(0) == (1 if runs == 1 else 0)  # only the last ones are remembered
    await store.write(lambda unit: unit.agent_events.forget(agent_id))
    assert await position(runs - 1) == 0
