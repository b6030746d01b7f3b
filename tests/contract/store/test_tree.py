"""The audit log's tree in the database: it grows by compare-and-swap, and retention takes only what is stated."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from sds.audit.event import Actor, ActorKind, Target
from sds.audit.merkle import leaf_hash
from sds.audit.tiles import GrowingTree
from sds.store.errors import ConstraintViolated, UnauditedChange
from sds.store.ledger.audit_keys import AuditKey
from sds.store.ledger.tree import Addition, Head, Pruned, SignedHead
from sds.store.records import AuditFilter
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import event, later


def addition(unit: UnitOfWork, head: Head, limit: int = 100) -> Addition:
    pending = unit.audit.settled_after(head.seq, limit)
    tree = GrowingTree(head.size, unit.audit_tree.tile)
    tree.extend(leaf_hash(canonical) for _, canonical in pending)
    signed = SignedHead(tree.size, tree.root(), f"note of {tree.size}", unit.now)
    return Addition([seq for seq, _ in pending], tree.changed(), signed)


async def grow(store: Store, events: int, limit: int = 100) -> Head:
    await store.write(lambda unit: unit.audit.append_all(event(request_id=f"r{number}") for number in range(events)))

    def look(unit: UnitOfWork) -> tuple[Head, Addition]:
        unit.audit.settled_after(0, 1)  # the horizon comes first
        head = unit.audit_tree.head()
        return head, addition(unit, head, limit)

    head, more = await store.read(look)
    assert await store.write(lambda unit: unit.audit_tree.extend(head, more))
    return await store.read(lambda unit: unit.audit_tree.head())


async def test_a_tree_grows(store: Store) -> None:
    assert await store.read(lambda unit: unit.audit_tree.head()) == Head(0, 0)
    assert await store.read(lambda unit: unit.audit_tree.checkpoint()) is None
    assert await grow(store, 3) == Head(3, 3)
    assert await grow(store, 300, 400) == Head(303, 303)
    assert len(await store.read(lambda unit: unit.audit_tree.tile(0, 0))) == 256 * 32
    assert len(await store.read(lambda unit: unit.audit_tree.tile(0, 1))) == 47 * 32
    assert len(await store.read(lambda unit: unit.audit_tree.tile(1, 0))) == 32
    assert await store.read(lambda unit: unit.audit_tree.tile(1, 1)) == b""
    assert set(await store.read(lambda unit: unit.audit_tree.tiles(0, 1, 5))) == {1}
    newest = await store.read(lambda unit: unit.audit_tree.checkpoint())
    assert newest is not None
    assert newest.size == 303
    assert [one.size for one in await store.read(lambda unit: unit.audit_tree.checkpoints())] == [3, 303]
    assert [one.size for one in await store.read(lambda unit: unit.audit_tree.checkpoints(before=303))] == [3]
    assert await store.read(lambda unit: unit.audit_tree.leaf_of(7)) == 6
    assert await store.read(lambda unit: unit.audit_tree.leaf_of(304)) is None
    assert await store.read(lambda unit: unit.audit_tree.leaves_of([1, 303, 304])) == {1: 0, 303: 302}


async def test_of_two_that_grow_it_at_once_one_does(store: Store) -> None:
    head = await grow(store, 3)
    await store.write(lambda unit: unit.audit.append_all(event() for _ in range(5)))
    short = await store.read(lambda unit: addition(unit, head, 2))
    long = await store.read(lambda unit: addition(unit, head))
    wins = await asyncio.gather(
        *(
            store.write(lambda unit, more=more: unit.audit_tree.extend(head, more))
            for more in (short, long, short, long)
        )
    )
    assert sorted(wins) == [False, False, False, True]
    now = await store.read(lambda unit: unit.audit_tree.head())
    assert now in {Head(5, 5), Head(8, 8)}
    assert [one.size for one in await store.read(lambda unit: unit.audit_tree.checkpoints())] == [3, now.size]


async def test_columns_are_held_against_what_they_index(store: Store) -> None:
    await grow(store, 3)
    lines = await store.read(lambda unit: unit.audit_lines.judged(0, 3, 10))
    assert [(line.leaf, line.seq, line.differs) for line in lines] == [(0, 1, ()), (1, 2, ()), (2, 3, ())]
    assert await store.read(lambda unit: unit.audit_lines.unplaced(3, 10)) == ()
    assert len(await store.read(lambda unit: unit.audit_lines.copied(0, 3, 2))) == 2
    found = await store.read(lambda unit: unit.audit_lines.copied(0, 3, 9, AuditFilter(request_id="r1")))
    assert [line.seq for line in found] == [2]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (AuditFilter(until=later(2)), [1, 2]),
        (AuditFilter(since=later(1), until=later(2)), [2]),
        (AuditFilter(request_id="two"), [2]),
        (AuditFilter(request_id=""), []),
        (AuditFilter(before=3), [1, 2]),
        (AuditFilter(before=1), []),
    ],
)
async def test_more_filters(store: Store, filters: AuditFilter, expected: list[int]) -> None:
    requests = ("one", "two", "")
    events = [event(time=later(number), request_id=requests[number]) for number in range(3)]
    await store.write(lambda unit: unit.audit.append_all(events))
    found = await store.read(lambda unit: unit.audit.tail(None, 100, filters))
    assert [stored.seq for stored in found] == expected


async def test_going_back_page_by_page(store: Store) -> None:
    await store.write(lambda unit: unit.audit.append_all(event() for _ in range(5)))
    found = await store.read(lambda unit: unit.audit.tail(None, 2, AuditFilter(before=4)))
    assert [stored.seq for stored in found] == [2, 3]
    one = await store.read(lambda unit: unit.audit.get(3))
    assert one is not None
    assert one.seq == 3
    assert await store.read(lambda unit: unit.audit.get(6)) is None


async def test_retention_takes_what_is_stated(store: Store) -> None:
    await grow(store, 10)
    statement = Pruned(4, "a statement", later(0))
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.audit_tree.put_pruning(statement))

    def work(unit: UnitOfWork) -> None:
        unit.audit_tree.put_pruning(statement)
        unit.audit.append(event("audit.prune"))

    await store.write(work)
    assert await store.read(lambda unit: unit.audit_tree.pruned()) == 4
    assert await store.write(lambda unit: unit.audit_tree.remove_pruned(3)) == 3
    assert await store.write(lambda unit: unit.audit_tree.remove_pruned(3)) == 1
    assert await store.write(lambda unit: unit.audit_tree.remove_pruned(3)) == 0
    left = await store.read(lambda unit: unit.audit.tail(0))
    assert [stored.seq for stored in left] == [5, 6, 7, 8, 9, 10, 11]
    assert [line.leaf for line in await store.read(lambda unit: unit.audit_lines.judged(0, 10, 20))] == [
        4,
        5,
        6,
        7,
        8,
        9,
    ]
    assert len(await store.read(lambda unit: unit.audit_tree.tile(0, 0))) == 320
    (stored,) = await store.read(lambda unit: unit.audit_tree.prunings())
    assert stored == statement


async def test_how_far_retention_would_go(store: Store) -> None:
    times = [later(number) for number in (0, 1, 5, 2, 9)]
    await store.write(lambda unit: unit.audit.append_all(event(time=time) for time in times))
    head = Head(0, 0)
    more = await store.read(lambda unit: addition(unit, head))
    await store.write(lambda unit: unit.audit_tree.extend(head, more))
    for moment, expected in ((later(0), 0), (later(1), 1), (later(3), 2), (later(6), 4), (later(20), 5)):
        assert await store.read(lambda unit, at=moment: unit.audit_tree.first_leaf_since(at, 5)) == expected
    assert await store.read(lambda unit: unit.audit_tree.first_leaf_since(later(20), 3)) == 3


async def test_old_checkpoints_are_thinned(store: Store) -> None:
    minute = timedelta(minutes=1)
    start = later(0)

    def work(unit: UnitOfWork) -> None:
        for size in range(1, 181):
            unit.audit_tree.put_checkpoint(SignedHead(size, bytes(32), "n", start + size * minute))

    await store.write(work)
    removed = await store.write(
        lambda unit: unit.audit_tree.thin_checkpoints(start + 150 * minute, 60 * 60 * 1_000_000)
    )
    left = [one.size for one in await store.read(lambda unit: unit.audit_tree.checkpoints(limit=500))]
    assert left == [59, 119, *range(149, 181)]
    assert removed == 180 - len(left)


async def test_keys_are_numbered(store: Store) -> None:
    first = AuditKey(1, "example.org/audit/1+00000000+AA", "wrapped:1", "", later(0))

    def put(key: AuditKey) -> None:
        async def done() -> None:
            await store.write(lambda unit: (unit.audit_keys.put(key), unit.audit.append(event("audit.key.create"))))

        return done()

    await put(first)
    with pytest.raises(ConstraintViolated):
        await put(replace(first, key_ref="wrapped:2"))
    second = replace(first, number=2, endorsement="a note")
    await put(second)
    assert await store.read(lambda unit: unit.audit_keys.all()) == (first, second)


async def test_a_line_that_was_altered_says_where(store: Store) -> None:
    odd = event(actor=Actor(ActorKind.ADMIN, "x" * 600), target=Target("t", "\0"), request_id="q" * 64)
    await store.write(lambda unit: unit.audit.append(odd))
    head = Head(0, 0)
    more = await store.read(lambda unit: addition(unit, head))
    await store.write(lambda unit: unit.audit_tree.extend(head, more))
    (line,) = await store.read(lambda unit: unit.audit_lines.judged(0, 1, 1))
    assert line.differs == ()
