from __future__ import annotations

import asyncio
import random

import pytest

from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from sds.store.errors import AlreadyGranted, ConstraintViolated, InvalidCursor, NotFound, UnauditedChange
from sds.store.records import ChangeKind
from sds.store.store import Store
from tests.contract.store.samples import change, spiffe
from tests.fakes.clock import EPOCH, FakeClock

# As long as can be, and nothing that a database could compress to fit its index.
LONG = SpiffeId.parse("spiffe://example.org/" + random.Random(5).randbytes(1010).hex())
WIDE = Labelled({f"k{n}": random.Random(n).randbytes(120).hex() for n in range(8)})
SUBJECTS: tuple[Subject, ...] = (
    Exactly(spiffe("/web")),
    Below(spiffe("/web")),
    Below(SpiffeId.parse("spiffe://example.org")),
    Exactly(LONG),
    WIDE,
    Labelled({"env": "prod", "team": "ä"}),
)


async def secret(store: Store, secret_id: str = "s1") -> None:
    spec = SecretSpec(secret_id, SecretKind.GENERIC, EmbeddedSource())
    await change(store, lambda unit: unit.secrets.create(spec, secret_id))


async def grant(store: Store, subject: Subject = SUBJECTS[0], grant_id: str = "g1", secret_id: str = "s1") -> Grant:
    return await change(store, lambda unit: unit.grants.create(secret_id, subject, grant_id, "uid:0"))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: type(subject).__name__)
async def test_what_is_granted_comes_back(store: Store, subject: Subject) -> None:
    await secret(store)
    created = await grant(store, subject)
    assert created == Grant("g1", "s1", subject, EPOCH, "uid:0")
    assert await store.read(lambda unit: unit.grants.find("s1", subject)) == created
    assert await store.read(lambda unit: unit.grants.of("s1")) == (created,)
    changes = await store.read(lambda unit: unit.changes.since(1).changes)
    assert [(one.kind, one.key) for one in changes] == [(ChangeKind.SECRET, "s1")]


async def test_exactly_and_below_are_two_subjects(store: Store) -> None:
    await secret(store)
    await grant(store, SUBJECTS[0], "g1")
    await grant(store, SUBJECTS[1], "g2")
    assert await store.read(lambda unit: unit.grants.count("s1")) == 2


async def test_a_subject_is_granted_once(store: Store) -> None:
    await secret(store)
    standing = await grant(store, Labelled({"a": "1", "b": "2"}))
    with pytest.raises(AlreadyGranted) as refused:
        await grant(store, Labelled({"b": "2", "a": "1"}), "g2")
    assert refused.value.grant == standing
    with pytest.raises(ConstraintViolated):
        await grant(store, SUBJECTS[0], "g1")
    with pytest.raises(NotFound):
        await grant(store, SUBJECTS[0], "g3", "s9")


async def test_of_many_who_grant_the_same_one_does(store: Store) -> None:
    await secret(store)
    results = await asyncio.gather(*(grant(store, SUBJECTS[0], f"g{n}") for n in range(6)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["AlreadyGranted"] * 5 + ["Grant"]


async def test_every_change_needs_an_event(store: Store) -> None:
    await secret(store)
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.grants.create("s1", SUBJECTS[0], "g1"))
    await grant(store)
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.grants.delete("g1"))
    assert await store.read(lambda unit: unit.grants.count()) == 1


async def test_what_is_taken_back_is_told(store: Store) -> None:
    await secret(store)
    created = await grant(store)
    before = len(await store.read(lambda unit: unit.changes.since(0).changes))
    assert await change(store, lambda unit: unit.grants.delete("g1")) == created
    changes = (await store.read(lambda unit: unit.changes.since(0).changes))[before:]
    assert [(one.kind, one.key) for one in changes] == [(ChangeKind.SECRET, "s1")]
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.grants.delete("g1"))


async def test_grants_go_with_their_secret(store: Store) -> None:
    for secret_id in ("s1", "s2"):
        await secret(store, secret_id)
        await grant(store, SUBJECTS[0], f"g-{secret_id}", secret_id)
    await change(store, lambda unit: unit.secrets.delete("s1"))
    assert [one.id for one in await store.read(lambda unit: unit.grants.all())] == ["g-s2"]


async def test_pages(store: Store, clock: FakeClock) -> None:
    for secret_id in ("s1", "s2"):
        await secret(store, secret_id)
    for number in range(7):
        await grant(store, Exactly(spiffe(f"/w{number}")), f"g{number}", f"s{number % 2 + 1}")
        clock.advance(number % 2)
    found: list[str] = []
    cursor = None
    while True:
        page = await store.read(lambda unit, c=cursor: unit.grants.page(cursor=c, limit=3))
        found += [one.id for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [f"g{number}" for number in range(7)]
    ours = await store.read(lambda unit: unit.grants.page(secret_id="s2"))
    assert [one.id for one in ours.items] == ["g1", "g3", "g5"]
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.grants.page(cursor="zz"))
