from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest

from attestation.selector import Selector, parse_selectors
from sds.store.change_records import Change
from sds.store.errors import AlreadyExists, Conflict, ConstraintViolated, InvalidCursor, NotFound
from sds.store.records import ChangeKind, EntryFilter
from sds.store.store import Store
from tests.contract.store.samples import AGENT, OTHER_AGENT, change, later, spec, spiffe
from tests.fakes.clock import EPOCH, FakeClock

FULL = spec(
    "/ns/default/sa/web",
    "unix:uid:1000",
    "unix:path:/usr/bin/caf\u00e9",
    x509_svid_ttl=timedelta(hours=1, microseconds=1),
    dns_names=("web.example.org", "*.web.example.org"),
    hint="default",
    owner="team-\u00fc",
    labels=MappingProxyType({"tier": "front", "a": ""}),
    expires_at=later(3600.000001),
)


async def test_an_entry_comes_back_as_it_was_given(store: Store) -> None:
    created = await change(store, lambda unit: unit.entries.create(FULL, "e1"))
    assert (created.id, created.revision, created.created_at, created.updated_at) == ("e1", 1, EPOCH, EPOCH)
    assert created.spec == FULL
    assert isinstance(created.spec.labels, Mapping)
    assert await store.read(lambda unit: unit.entries.get("e1")) == created
    assert await store.read(lambda unit: unit.entries.all()) == (created,)
    assert await store.read(lambda unit: unit.changes.since(0).changes) == (
        Change(1, ChangeKind.ENTRY, "e1", str(AGENT)),
    )


async def test_the_same_identity_parent_and_selectors_exist_once(store: Store) -> None:
    standing = await change(store, lambda unit: unit.entries.create(spec(), "e1"))
    with pytest.raises(AlreadyExists) as caught:
        await change(store, lambda unit: unit.entries.create(spec(hint="another"), "e2"))
    assert caught.value.entry == standing
    for different in (spec("/other"), spec("/web", "unix:uid:1"), spec(parent=OTHER_AGENT)):
        await change(store, lambda unit, it=different: unit.entries.create(it, str(hash(it.spiffe_id) ^ len(str(it)))))
    assert len(await store.read(lambda unit: unit.entries.all())) == 4


async def test_of_many_creates_at_once_one_succeeds(store: Store) -> None:
    results = await asyncio.gather(
        *(change(store, lambda unit, i=i: unit.entries.create(spec(), f"e{i}")) for i in range(8)),
        return_exceptions=True,
    )
    won = [result for result in results if not isinstance(result, BaseException)]
    assert len(won) == 1
    assert all(isinstance(r, AlreadyExists) and r.entry == won[0] for r in results if isinstance(r, BaseException))


async def test_an_id_is_not_used_twice(store: Store) -> None:
    await change(store, lambda unit: unit.entries.create(spec(), "e1"))
    with pytest.raises(ConstraintViolated):
        await change(store, lambda unit: unit.entries.create(spec("/other"), "e1"))


async def test_update_counts_the_revision_and_tells_both_parents(store: Store, clock: FakeClock) -> None:
    created = await change(store, lambda unit: unit.entries.create(spec(), "e1"))
    clock.advance(5)
    moved = replace(FULL, parent_id=OTHER_AGENT)
    updated = await change(store, lambda unit: unit.entries.update("e1", moved, 1))
    assert (updated.revision, updated.created_at, updated.updated_at) == (2, created.created_at, later(5))
    assert updated.spec == moved
    batch = await store.read(lambda unit: unit.changes.since(1))
    assert [(c.key, c.parent) for c in batch.changes] == [("e1", str(AGENT)), ("e1", str(OTHER_AGENT))]


async def test_an_equal_update_changes_nothing_and_needs_no_event(store: Store, clock: FakeClock) -> None:
    created = await change(store, lambda unit: unit.entries.create(FULL, "e1"))
    clock.advance(5)
    assert await store.write(lambda unit: unit.entries.update("e1", FULL)) == created
    assert (await store.read(lambda unit: unit.changes.state())).newest == 1


async def test_update_refuses_another_revision_and_another_entrys_place(store: Store) -> None:
    await change(store, lambda unit: unit.entries.create(spec(), "e1"))
    other = await change(store, lambda unit: unit.entries.create(spec("/other"), "e2"))
    with pytest.raises(Conflict) as conflict:
        await change(store, lambda unit: unit.entries.update("e1", FULL, 7))
    assert conflict.value.current == 1
    with pytest.raises(AlreadyExists) as exists:
        await change(store, lambda unit: unit.entries.update("e1", spec("/other")))
    assert exists.value.entry == other
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.entries.update("e3", FULL))


async def test_of_many_compare_and_swaps_at_once_one_succeeds(store: Store) -> None:
    await change(store, lambda unit: unit.entries.create(spec(), "e1"))
    results = await asyncio.gather(
        *(change(store, lambda unit, i=i: unit.entries.update("e1", spec(hint=f"h{i}"), 1)) for i in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 7 + ["RegistrationEntry"]
    assert (await store.read(lambda unit: unit.entries.get("e1"))).revision == 2


async def test_delete_returns_what_stood_and_frees_its_place(store: Store) -> None:
    created = await change(store, lambda unit: unit.entries.create(FULL, "e1"))
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.entries.delete("e1", 2))
    assert await change(store, lambda unit: unit.entries.delete("e1", 1)) == created
    with pytest.raises(NotFound):
        await store.read(lambda unit: unit.entries.get("e1"))
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.entries.delete("e1"))
    assert (await store.read(lambda unit: unit.entries.list(EntryFilter(labels={"tier": "front"})))).items == ()
    await change(store, lambda unit: unit.entries.create(FULL, "e2"))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (EntryFilter(), "abcd"),
        (EntryFilter(spiffe_id=spiffe("/ns/a")), "a"),
        (EntryFilter(below=spiffe("/ns")), "abc"),
        (EntryFilter(below=spiffe("/ns/a")), "ab"),  # by whole segments: not /ns/ab
        (EntryFilter(below=spiffe("")), "abcd"),
        (EntryFilter(parent_id=OTHER_AGENT), "d"),
        (EntryFilter(selector=Selector.parse("unix:uid:2")), "bc"),
        (EntryFilter(selector=Selector.parse("unix:uid:3")), ""),
        (EntryFilter(owner="me"), "ac"),
        (EntryFilter(owner="ME"), ""),
        (EntryFilter(hint="h"), "d"),
        (EntryFilter(profile="gateway"), "c"),
        (EntryFilter(profile=""), "abd"),
        (EntryFilter(labels={"x": "1"}), "ab"),
        (EntryFilter(labels={"x": "1", "y": "2"}), "b"),
        (EntryFilter(owner="me", labels={"x": "1"}), "a"),
        (EntryFilter(owner="' OR 1=1 --"), ""),
        (EntryFilter(owner="a\0b"), ""),
        (EntryFilter(owner="\ud800"), ""),
    ],
)
async def test_filters(store: Store, clock: FakeClock, filters: EntryFilter, expected: str) -> None:
    specs = {
        "a": spec("/ns/a", owner="me", labels={"x": "1"}),
        "b": spec("/ns/a/b", "unix:uid:1", "unix:uid:2", labels={"x": "1", "y": "2"}),
        "c": spec("/ns/ab", "unix:uid:2", owner="me", labels={"x": "2"}, profile="gateway"),
        "d": spec("/web", parent=OTHER_AGENT, hint="h"),
    }
    for name, item in specs.items():
        await change(store, lambda unit, name=name, item=item: unit.entries.create(item, name))
        clock.advance(1)
    page = await store.read(lambda unit: unit.entries.list(filters))
    assert "".join(entry.id for entry in page.items) == expected


async def test_updated_labels_and_selectors_are_found_by_the_new_values(store: Store) -> None:
    await change(store, lambda unit: unit.entries.create(FULL, "e1"))
    new = replace(FULL, labels={"tier": "back"}, selectors=parse_selectors(("unix:uid:7",)))
    await change(store, lambda unit: unit.entries.update("e1", new))
    for filters, found in (
        (EntryFilter(labels={"tier": "front"}), 0),
        (EntryFilter(labels={"tier": "back"}), 1),
        (EntryFilter(selector=Selector.parse("unix:uid:1000")), 0),
        (EntryFilter(selector=Selector.parse("unix:uid:7")), 1),
    ):
        assert len((await store.read(lambda unit, f=filters: unit.entries.list(f))).items) == found


async def test_pages_are_complete_and_stable_while_entries_come_and_go(store: Store, clock: FakeClock) -> None:
    for number in range(7):
        clock.advance(number % 2)  # some share a creation time
        await change(store, lambda unit, n=number: unit.entries.create(spec(f"/n{n}"), f"e{n}"))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.read(lambda unit, c=cursor: unit.entries.list(cursor=c, limit=2))
        seen += [entry.id for entry in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
        if len(seen) == 2:
            await change(store, lambda unit: unit.entries.delete("e1"))
    assert seen == [f"e{n}" for n in range(7)]
    assert len((await store.read(lambda unit: unit.entries.list(limit=6))).items) == 6
    assert (await store.read(lambda unit: unit.entries.list(limit=6))).next_cursor is None


@pytest.mark.parametrize(
    "cursor", ["", "zz", "00", "ff", b'["a"]'.hex(), b"[1]".hex(), b'["x",1]'.hex(), b"[1e999,1]".hex(), "5b" * 100_000]
)
async def test_a_made_up_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.entries.list(cursor=cursor))


async def test_a_cursor_beyond_64_bits_is_refused(store: Store) -> None:
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.entries.list(cursor=b'[9223372036854775808,"a"]'.hex()))


async def test_all_for_a_parent(store: Store) -> None:
    mine = await change(store, lambda unit: unit.entries.create(spec(), "e1"))
    await change(store, lambda unit: unit.entries.create(spec(parent=OTHER_AGENT), "e2"))
    assert await store.read(lambda unit: unit.entries.all_for(AGENT)) == (mine,)


@pytest.mark.parametrize("key", ["nope", "a\0b", "\ud800", "'; DROP TABLE entries; --"])
async def test_an_unknown_id_is_not_found_whatever_it_holds(store: Store, key: str) -> None:
    with pytest.raises(NotFound):
        await store.read(lambda unit: unit.entries.get(key))
