from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import psycopg
import pytest

from sds.audit.canonical import canonical_bytes
from sds.audit.event import Actor, ActorKind, Outcome, Target
from sds.store.errors import StoreError
from sds.store.records import AuditFilter
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import event, later


async def append(store: Store, *events) -> None:
    await store.write(lambda unit: unit.audit.append_all(events))


async def seqs(store: Store, after: int | None, limit: int = 100, filters: AuditFilter = AuditFilter()) -> list[int]:  # noqa: B008 - frozen
    return [stored.seq for stored in await store.read(lambda unit: unit.audit.tail(after, limit, filters))]


async def test_the_bytes_are_stored_as_they_are(store: Store) -> None:
    written = event(details={"b": [1, "\u20ac", None, True], "a": {"z": "\0"}}, reason="r", request_id="q", node="n")
    await append(store, written)
    (stored,) = await store.read(lambda unit: unit.audit.tail(0))
    assert stored.canonical == canonical_bytes(written)
    assert stored.event == written
    assert stored.seq == 1


async def test_reading_on_from_the_last_place(store: Store) -> None:
    assert await seqs(store, 0) == []
    await append(store, *(event() for _ in range(5)))
    assert await seqs(store, 0, 2) == [1, 2]
    assert await seqs(store, 2, 2) == [3, 4]
    assert await seqs(store, 4, 2) == [5]
    assert await seqs(store, 5) == []
    assert await seqs(store, None, 2) == [4, 5]
    assert await seqs(store, None) == [1, 2, 3, 4, 5]
    assert await store.read(lambda unit: unit.audit.count()) == 5


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (AuditFilter(action="entry.create"), [1, 2]),
        (AuditFilter(action="entry."), [1, 2, 3]),
        (AuditFilter(action="entry"), []),
        (AuditFilter(outcome="refused"), [3]),
        (AuditFilter(actor="uid:7"), [2]),
        (AuditFilter(target="e9"), [4]),
        (AuditFilter(since=later(2)), [3, 4]),
        (AuditFilter(action="entry.", outcome="success", actor="uid:0"), [1]),
    ],
)
async def test_filters(store: Store, filters: AuditFilter, expected: list[int]) -> None:
    await append(
        store,
        event("entry.create"),
        event("entry.create", actor=Actor(ActorKind.ADMIN, "uid:7")),
        event("entry.update", outcome=Outcome.REFUSED, time=later(2)),
        event("entryx.update", target=Target("entry", "e9"), time=later(3)),
    )
    assert await seqs(store, 0, 100, filters) == expected
    assert await seqs(store, None, 100, filters) == expected


async def test_texts_from_outside_may_hold_anything_and_be_long(store: Store) -> None:
    name = "\0" + "\u20ac" * 3000
    await append(store, event(target=Target("resource", name), reason=name))
    (stored,) = await store.read(lambda unit: unit.audit.tail(0, 10, AuditFilter(target=name)))
    assert stored.event.target.id == name  # whole in the event, cut in the index


async def test_an_event_that_cannot_be_written_takes_its_change_with_it(store: Store) -> None:
    def work(unit: UnitOfWork) -> None:
        unit.settings.put("touched", "yes")
        unit.audit.append(event(details={"x": 1.5}))

    with pytest.raises(ValueError, match="float"):
        await store.write(work)
    assert await store.read(lambda unit: unit.settings.get("touched")) is None


async def test_events_that_commit_out_of_order_are_not_skipped(postgresql_store: Store, postgresql_url: str) -> None:
    """A draws number 1 and dawdles; B draws 2 and commits. Nobody may be shown 2 before 1 is settled."""
    store = postgresql_store
    drawn, go_on = threading.Event(), threading.Event()

    def slow(unit: UnitOfWork) -> None:
        unit.audit.append(event("test.slow"))
        unit.audit.flush()
        drawn.set()
        assert go_on.wait(10)

    pending = asyncio.create_task(store.write(slow))
    assert await asyncio.to_thread(drawn.wait, 10)
    await asyncio.wait_for(append(store, event("test.quick")), 5)  # is not held up by the slow one
    with psycopg.connect(postgresql_url) as raw:
        assert raw.execute("SELECT seq FROM audit_events").fetchall() == [(2,)]  # it is there to be seen
    assert await seqs(store, 0) == []
    assert await seqs(store, None) == []
    go_on.set()
    await pending
    assert await seqs(store, 0) == [1, 2]


async def test_a_number_that_was_rolled_back_holds_nobody_up(store: Store) -> None:
    def failing(unit: UnitOfWork) -> None:
        unit.audit.append(event())
        unit.audit.flush()
        raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        await store.write(failing)
    await append(store, event())
    assert len(await seqs(store, 0)) == 1


async def test_a_follower_misses_nothing_under_concurrent_slow_writers(store: Store) -> None:
    written: list[str] = []
    done = asyncio.Event()

    async def writer(number: int) -> None:
        for turn in range(12):
            mine = [event(reason=f"{number}.{turn}.{i}") for i in range(1 + turn % 3)]

            def work(unit: UnitOfWork, mine=mine, turn=turn, number=number) -> None:
                for item in mine:
                    unit.audit.append(item)
                    unit.audit.flush()
                    time.sleep(0.002 * ((turn + number) % 3))

            await store.write(work)
            written.extend(item.reason for item in mine)

    async def follow() -> list[str]:
        seen: list[str] = []
        last = 0
        while True:
            final = done.is_set()
            batch = await store.read(lambda unit, last=last: unit.audit.tail(last, 7))
            assert [stored.seq for stored in batch] == sorted({stored.seq for stored in batch})
            seen += [stored.event.reason for stored in batch]
            last = batch[-1].seq if batch else last
            if final and not batch:
                return seen

    following = asyncio.create_task(follow())
    await asyncio.gather(*(writer(number) for number in range(4)))
    done.set()
    seen = await asyncio.wait_for(following, 20)
    assert sorted(seen) == sorted(written)
    assert len(seen) == len(set(seen)) == 96


async def test_the_horizon_must_be_known_before_the_snapshot(postgresql_store: Store) -> None:
    """Reading something else first would fix the snapshot too early; that is refused, not wrong."""

    def late(unit: UnitOfWork) -> None:
        unit.audit.count()
        unit.audit.tail(0)

    with pytest.raises(StoreError, match="25001"):
        await postgresql_store.read(late)


async def test_ids_are_the_callers(store: Store) -> None:
    one = event()
    await append(store, one, replace(one, reason="again"))
    assert len(await seqs(store, 0)) == 2
