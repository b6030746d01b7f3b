from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest

from ca.errors import KeyUnwrapFailed
from sds.secrets.secret import (
    DatabaseSource,
    EmbeddedSource,
    KvSource,
    PkiSource,
    RotationPolicy,
    Secret,
    SecretKind,
    SecretSpec,
    SecretState,
    Source,
)
from sds.store.errors import Conflict, ConstraintViolated, InvalidCursor, NameTaken, NotFound, UnauditedChange
from sds.store.records import ChangeKind
from sds.store.secrets.records import Sealed, SecretFilter, WrappedDataKey
from sds.store.store import Store
from tests.contract.store.samples import change
from tests.fakes.clock import EPOCH, FakeClock

KEY = WrappedDataKey("11111111", b"\x00" * 12, b"wrapped\x00key")
SOURCES: tuple[Source, ...] = (
    EmbeddedSource(),
    KvSource("kv", "a/b c/ü", MappingProxyType({"": "token", "backend": "pki"})),
    DatabaseSource("database", "readonly"),
    PkiSource("pki", "gateway", "gw.example.org", ("gw.example.org", "*.example.org"), timedelta(hours=1)),
    PkiSource("pki", "gateway", "gw.example.org"),
)


def spec(name: str = "db", source: Source | None = None, **changes: Any) -> SecretSpec:
    return replace(SecretSpec(name, SecretKind.GENERIC, source or EmbeddedSource()), **changes)


async def create(store: Store, given: SecretSpec | None = None, secret_id: str = "s1", key: Any = KEY) -> Secret:
    given = given or spec()
    return await change(store, lambda unit: unit.secrets.create(given, secret_id, key))


async def told(store: Store) -> list[tuple[ChangeKind, str]]:
    changes = await store.read(lambda unit: unit.changes.since(0).changes)
    return [(one.kind, one.key) for one in changes]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
async def test_what_is_defined_comes_back(store: Store, source: Source) -> None:
    given = spec(
        "a.b/c_d-e",
        source,
        kind=SecretKind.MAP,
        owner="team ä",
        labels={"env": "prod", "a": 'quo"te'},
        refresh=timedelta(seconds=5, microseconds=1),
        rotation=RotationPolicy(timedelta(days=30), 32),
    )
    created = await create(store, given)
    assert (created.id, created.revision, created.spec, created.pinned) == ("s1", 1, given, None)
    assert (created.created_at, created.updated_at) == (EPOCH, EPOCH)
    assert await store.read(lambda unit: unit.secrets.get("s1")) == created
    assert await store.read(lambda unit: unit.secrets.find("a.b/c_d-e")) == created
    assert await store.read(lambda unit: unit.secrets.find("A.b/c_d-e")) is None
    assert await store.read(lambda unit: unit.secrets.all()) == (created,)
    assert await store.read(lambda unit: unit.secrets.data_key("s1")) == KEY
    assert await told(store) == [(ChangeKind.SECRET, "s1")]


async def test_a_name_is_taken_once(store: Store) -> None:
    await create(store)
    with pytest.raises(NameTaken):
        await create(store, spec(), "s2")
    with pytest.raises(ConstraintViolated):
        await create(store, spec("other"), "s1")
    await create(store, spec("other"), "s2")
    with pytest.raises(NameTaken):
        await change(store, lambda unit: unit.secrets.update("s2", spec("db")))


async def test_of_many_who_create_a_name_one_does(store: Store) -> None:
    results = await asyncio.gather(*(create(store, spec(), f"s{n}") for n in range(6)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["NameTaken"] * 5 + ["Secret"]
    assert await store.read(lambda unit: unit.secrets.count()) == 1


async def test_every_change_needs_an_event(store: Store) -> None:
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.secrets.create(spec(), "s1", KEY))
    await create(store)
    await change(store, lambda unit: unit.secrets.put_version("s1", Sealed(1, b"n", b"c")))
    for work in (
        lambda unit: unit.secrets.update("s1", spec(owner="me")),
        lambda unit: unit.secrets.pin("s1", 1),
        lambda unit: unit.secrets.put_version("s1", Sealed(2, b"n", b"c")),
        lambda unit: unit.secrets.destroy("s1", 1),
        lambda unit: unit.secrets.delete("s1"),
        lambda unit: unit.secrets.rewrap(lambda _, key: replace(key, kek_id="new")),
    ):
        with pytest.raises(UnauditedChange):
            await store.write(work)
    found = await store.read(lambda unit: unit.secrets.get("s1"))
    assert (found.revision, found.spec.owner) == (1, "")


async def test_an_update_counts_and_compares(store: Store, clock: FakeClock) -> None:
    await create(store)
    clock.advance(5)
    second = await change(store, lambda unit: unit.secrets.update("s1", spec("db2", owner="me"), 1))
    assert (second.revision, second.name, second.updated_at, second.created_at) == (2, "db2", clock.now(), EPOCH)
    with pytest.raises(Conflict) as refused:
        await change(store, lambda unit: unit.secrets.update("s1", spec("db3"), 1))
    assert refused.value.current == 2
    before = await told(store)
    same = await store.write(lambda unit: unit.secrets.update("s1", spec("db2", owner="me")))  # no event needed
    assert same == second
    assert await told(store) == before == [(ChangeKind.SECRET, "s1")] * 2
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.secrets.update("s9", spec("x")))


async def test_of_many_who_saw_the_same_revision_one_writes(store: Store) -> None:
    await create(store)
    results = await asyncio.gather(
        *(change(store, lambda unit, n=n: unit.secrets.update("s1", spec(owner=f"o{n}"), 1)) for n in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["Conflict"] * 5 + ["Secret"]


async def test_another_source_begins_anew(store: Store) -> None:
    await create(store)
    seen = SecretState("7", EPOCH, EPOCH, None, "gone", "missing", EPOCH)
    await store.write(lambda unit: unit.secrets.note_state("s1", seen))
    await change(store, lambda unit: unit.secrets.pin("s1", 7))
    kept = await change(store, lambda unit: unit.secrets.update("s1", spec(owner="me")))
    assert kept.pinned == 7
    assert await store.read(lambda unit: unit.secrets.state("s1")) == seen
    moved = await change(store, lambda unit: unit.secrets.update("s1", spec(source=KvSource("kv", "a"))))
    assert moved.pinned is None
    assert await store.read(lambda unit: unit.secrets.state("s1")) == SecretState()


async def test_a_state_is_no_decision(store: Store) -> None:
    created = await create(store)
    assert await store.read(lambda unit: unit.secrets.state("s1")) == SecretState()
    before = await told(store)
    seen = SecretState("v7", EPOCH, EPOCH + timedelta(seconds=1), EPOCH, "no such path", "missing", EPOCH)
    await store.write(lambda unit: unit.secrets.note_state("s1", seen))
    await store.write(lambda unit: unit.secrets.note_state("s9", seen))
    assert await store.read(lambda unit: unit.secrets.states()) == {"s1": seen}
    assert await store.read(lambda unit: unit.secrets.get("s1")) == created
    assert await told(store) == before


async def test_pages_in_order_of_names(store: Store) -> None:
    names = ["b", "B", "a", "a.b", "a/b", "_", "é", "a-b"]
    for number, name in enumerate(names):
        await create(store, spec(name), f"s{number}")
    found, cursor = [], None
    while True:
        page = await store.read(lambda unit, cursor=cursor: unit.secrets.page(cursor=cursor, limit=3))
        found += [secret.name for secret, _ in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == sorted(names)
    for bad in ("", "00", "x", "5b315d"):
        with pytest.raises(InvalidCursor):
            await store.read(lambda unit, bad=bad: unit.secrets.page(cursor=bad))


async def test_filters(store: Store) -> None:
    await create(store, spec("app.db", SOURCES[0], owner="me", labels={"env": "prod", "a": "1"}), "s0")
    await create(store, spec("app_x", SOURCES[1], labels={"env": "prod", 'x"env': "test"}), "s1")
    await create(store, spec("App.y", SOURCES[2], labels={"x": 'y","env":"test'}, kind=SecretKind.MAP), "s2")
    await create(store, spec("gw", SOURCES[3], labels={"env": "test\\"}, kind=SecretKind.CERTIFICATE), "s3")
    failed = SecretState(problem="denied there", problem_code="denied", problem_since=EPOCH)
    await store.write(lambda unit: unit.secrets.note_state("s1", failed))

    async def names(**filters: Any) -> list[str]:
        page = await store.read(lambda unit: unit.secrets.page(filters=SecretFilter(**filters)))
        return [secret.id for secret, _ in page.items]

    assert await names() == ["s2", "s0", "s1", "s3"]
    assert await names(prefix="app") == ["s0", "s1"]
    assert await names(prefix="app_") == ["s1"]
    assert await names(prefix="%") == await names(prefix="a\0") == []
    assert await names(kind=SecretKind.MAP) == ["s2"]
    assert await names(backend="embedded") == ["s0"]
    assert await names(backend="kv") == ["s1"]
    assert await names(backend="pki") == ["s3"]  # and not s1, which has a field of that name
    assert await names(backend="k") == []
    assert await names(owner="me") == ["s0"]
    assert await names(owner="") == ["s2", "s1", "s3"]
    assert await names(labels={"env": "prod"}) == ["s0", "s1"]
    assert await names(labels={"env": "prod", "a": "1"}) == ["s0"]
    assert await names(labels={"env": "test"}) == []
    assert await names(labels={"env": "test\\"}) == ["s3"]
    assert await names(labels={'x"env': "test"}) == ["s1"]
    assert await names(problem=True) == await names(problem_code="denied") == ["s1"]
    assert await names(problem=False) == ["s2", "s0", "s3"]
    assert await names(problem=True, prefix="gw") == []


async def test_versions_count_on(store: Store, clock: FakeClock) -> None:
    await create(store)
    assert await store.read(lambda unit: unit.secrets.newest_version("s1")) is None
    later = EPOCH + timedelta(days=1)
    first = await change(store, lambda unit: unit.secrets.put_version("s1", Sealed(1, b"n1", b"c1"), later, "uid:0"))
    assert (first.version, first.created_at, first.created_by, first.not_after, first.live) == (
        1, EPOCH, "uid:0", later, True,
    )  # fmt: skip
    clock.advance(1)
    await change(store, lambda unit: unit.secrets.put_version("s1", Sealed(2, b"n2", b"c\x002")))
    stored = await store.read(lambda unit: unit.secrets.version("s1", 2))
    assert stored.sealed == Sealed(2, b"n2", b"c\x002")
    assert stored == await store.read(lambda unit: unit.secrets.newest_version("s1"))
    assert await store.read(lambda unit: unit.secrets.versions("s1")) == (stored.record, first)
    assert await store.read(lambda unit: unit.secrets.newest_versions(["s1", "s9"])) == {"s1": stored.record}
    with pytest.raises(NotFound):
        await store.read(lambda unit: unit.secrets.version("s1", 3))
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.secrets.put_version("s9", Sealed(1, b"n", b"c")))


async def test_of_many_who_write_the_next_version_one_does(store: Store) -> None:
    await create(store)
    results = await asyncio.gather(
        *(
            change(store, lambda unit, n=n: unit.secrets.put_version("s1", Sealed(1, b"n", b"%d" % n)))
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["Conflict"] * 5 + ["VersionRecord"]
    for wrong in (1, 3):
        with pytest.raises(Conflict):
            await change(store, lambda unit, n=wrong: unit.secrets.put_version("s1", Sealed(n, b"n", b"c")))


async def test_a_destroyed_version_is_known_and_empty(store: Store, clock: FakeClock) -> None:
    await create(store)
    await change(store, lambda unit: unit.secrets.put_version("s1", Sealed(1, b"n1", b"c1")))
    clock.advance(1)
    gone = await change(store, lambda unit: unit.secrets.destroy("s1", 1))
    assert (gone.live, gone.destroyed_at) == (False, clock.now())
    stored = await store.read(lambda unit: unit.secrets.version("s1", 1))
    assert stored.sealed == Sealed(1, b"", b"")
    clock.advance(1)
    assert await store.write(lambda unit: unit.secrets.destroy("s1", 1)) == gone  # nothing changed: needs no event
    assert await store.write(lambda unit: unit.secrets.next_version("s1")) == 2
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.secrets.destroy("s1", 2))


async def test_old_versions_are_forgotten_but_the_pinned_one(store: Store) -> None:
    await create(store)
    for number in range(1, 8):
        await change(store, lambda unit, n=number: unit.secrets.put_version("s1", Sealed(n, b"n", b"c")))
    await change(store, lambda unit: unit.secrets.pin("s1", 2))
    assert await store.write(lambda unit: unit.secrets.trim_versions("s1", 10)) == 0
    assert await store.write(lambda unit: unit.secrets.trim_versions("s1", 3)) == 3
    assert [one.version for one in await store.read(lambda unit: unit.secrets.versions("s1"))] == [7, 6, 5, 2]
    assert await store.write(lambda unit: unit.secrets.trim_versions("s1", 0)) == 2
    assert [one.version for one in await store.read(lambda unit: unit.secrets.versions("s1"))] == [7, 2]
    assert await store.write(lambda unit: unit.secrets.next_version("s1")) == 8


async def test_a_pin_is_a_revision(store: Store) -> None:
    await create(store)
    pinned = await change(store, lambda unit: unit.secrets.pin("s1", 4, 1))
    assert (pinned.pinned, pinned.revision) == (4, 2)
    assert await store.write(lambda unit: unit.secrets.pin("s1", 4)) == pinned
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.secrets.pin("s1", None, 1))
    assert (await change(store, lambda unit: unit.secrets.pin("s1", None, 2))).pinned is None


async def test_what_is_deleted_takes_all_along(store: Store) -> None:
    created = await create(store)
    await create(store, spec("other"), "s2")
    for secret_id in ("s1", "s2"):
        await change(store, lambda unit, s=secret_id: unit.secrets.put_version(s, Sealed(1, b"n", b"c")))
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.secrets.delete("s1", 2))
    assert await change(store, lambda unit: unit.secrets.delete("s1", 1)) == created
    assert await store.read(lambda unit: unit.secrets.versions("s1")) == ()
    assert len(await store.read(lambda unit: unit.secrets.versions("s2"))) == 1
    for work in (
        lambda unit: unit.secrets.get("s1"),
        lambda unit: unit.secrets.state("s1"),
        lambda unit: unit.secrets.data_key("s1"),
    ):
        with pytest.raises(NotFound):
            await store.read(work)
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.secrets.delete("s1"))
    assert (await told(store))[-1] == (ChangeKind.SECRET, "s1")


async def test_a_data_key_is_given_once(store: Store) -> None:
    await create(store, key=None)
    assert await store.read(lambda unit: unit.secrets.data_key("s1")) is None
    other = replace(KEY, ciphertext=b"other")
    assert await store.write(lambda unit: unit.secrets.give_data_key("s1", KEY)) == KEY
    assert await store.write(lambda unit: unit.secrets.give_data_key("s1", other)) == KEY
    with pytest.raises(NotFound):
        await store.write(lambda unit: unit.secrets.give_data_key("s9", KEY))


async def test_rewrapping_changes_all_data_keys_or_none(store: Store) -> None:
    for secret_id, key in (("s1", KEY), ("s2", replace(KEY, kek_id="new")), ("s3", KEY), ("s4", None)):
        await create(store, spec(secret_id), secret_id, key)

    def wrap(secret_id: str, key: WrappedDataKey) -> WrappedDataKey:
        if key.kek_id == "new":
            return key
        return WrappedDataKey("new", b"nonce", secret_id.encode())

    def wrap_until_s3(secret_id: str, key: WrappedDataKey) -> WrappedDataKey:
        if secret_id == "s3":
            raise KeyUnwrapFailed("altered")
        return wrap(secret_id, key)

    with pytest.raises(KeyUnwrapFailed):
        await change(store, lambda unit: unit.secrets.rewrap(wrap_until_s3))
    assert await store.read(lambda unit: unit.secrets.kek_ids()) == {"11111111", "new"}
    assert await change(store, lambda unit: unit.secrets.rewrap(wrap)) == 2
    assert await store.read(lambda unit: unit.secrets.kek_ids()) == {"new"}
    assert await store.read(lambda unit: unit.secrets.data_key("s3")) == WrappedDataKey("new", b"nonce", b"s3")
    assert await store.read(lambda unit: unit.secrets.data_key("s4")) is None
    assert await store.write(lambda unit: unit.secrets.rewrap(wrap)) == 0  # nothing changed: needs no event
