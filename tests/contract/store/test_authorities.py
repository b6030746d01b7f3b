from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from attestation.spiffe_id import TrustDomain
from ca.authority import AuthorityKind, AuthorityState
from sds.store.errors import Conflict, ConstraintViolated, NotFound
from sds.store.records import ChangeKind
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import authority, change, event, later
from tests.fakes.clock import EPOCH

FIRST = authority("aa" * 20)
SECOND = authority("bb" * 20, created_at=later(1))


async def test_authorities_come_back_as_they_were_given(store: Store) -> None:
    jwt = authority("cc" * 20, kind=AuthorityKind.JWT, certificate=b"", chain=(), created_at=later(2), tainted=True)
    jwt = replace(jwt, roots=(b"root",), upstream="disk", retired_at=later(9))
    for item in (SECOND, FIRST, jwt):
        await change(store, lambda unit, item=item: unit.authorities.add(item))
    first, second = replace(FIRST, published_sequence=2), replace(SECOND, published_sequence=1)
    jwt = replace(jwt, published_sequence=3)
    assert await store.read(lambda unit: unit.authorities.all()) == (first, second, jwt)
    assert await store.read(lambda unit: unit.authorities.all(AuthorityKind.JWT)) == (jwt,)
    assert await store.read(lambda unit: unit.authorities.get(FIRST.id)) == first
    with pytest.raises(NotFound):
        await store.read(lambda unit: unit.authorities.get("dd"))


async def test_what_changes_the_bundle_counts_its_sequence_and_is_told(store: Store) -> None:
    async def sequence() -> int:
        return await store.read(lambda unit: unit.authorities.bundle_sequence)

    assert await sequence() == 0
    await change(store, lambda unit: unit.authorities.add(FIRST))
    assert await sequence() == 1
    active = FIRST.activated(EPOCH)
    await change(store, lambda unit: unit.authorities.compare_and_swap(FIRST, active))
    assert await sequence() == 1  # publishing it did, using it does not
    await change(store, lambda unit: unit.authorities.compare_and_swap(active, replace(active, revoked=True)))
    assert await sequence() == 2
    await change(store, lambda unit: unit.authorities.remove(FIRST.id))
    assert await sequence() == 3
    kinds = [change.kind for change in (await store.read(lambda unit: unit.changes.since(0))).changes]
    assert kinds.count(ChangeKind.AUTHORITY) == 4
    assert kinds.count(ChangeKind.BUNDLE) == 3


async def test_swaps_compare_everything_that_may_change(store: Store) -> None:
    await change(store, lambda unit: unit.authorities.add(FIRST))
    active = FIRST.activated(later(5))
    for stale in (
        replace(FIRST, state=AuthorityState.OLD),
        replace(FIRST, tainted=True),
        replace(FIRST, revoked=True),
        replace(FIRST, activated_at=EPOCH),
        replace(FIRST, retired_at=EPOCH),
        replace(FIRST, chain=(b"another",)),
    ):
        with pytest.raises(Conflict) as caught:
            await change(store, lambda unit, s=stale: unit.authorities.compare_and_swap(s, active))
        assert caught.value.current == "prepared"
    await change(store, lambda unit: unit.authorities.compare_and_swap(FIRST, active))
    assert await store.read(lambda unit: unit.authorities.get(FIRST.id)) == replace(active, published_sequence=1)
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.authorities.compare_and_swap(SECOND, SECOND))
    with pytest.raises(ValueError, match="another"):
        await change(store, lambda unit: unit.authorities.compare_and_swap(FIRST, SECOND))


async def test_of_two_replicas_that_activate_at_once_one_wins(store: Store) -> None:
    for item in (FIRST, SECOND):
        await change(store, lambda unit, item=item: unit.authorities.add(item))
    results = await asyncio.gather(
        *(
            change(store, lambda unit, i=item: unit.authorities.compare_and_swap(i, i.activated(EPOCH)))
            for item in (FIRST, SECOND)
        ),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["ConstraintViolated", "NoneType"]
    active = [a for a in await store.read(lambda unit: unit.authorities.all()) if a.state is AuthorityState.ACTIVE]
    assert len(active) == 1


async def test_one_active_authority_for_each_kind_and_trust_domain(store: Store) -> None:
    await change(store, lambda unit: unit.authorities.add(FIRST.activated(EPOCH)))
    with pytest.raises(ConstraintViolated):
        await change(store, lambda unit: unit.authorities.add(SECOND.activated(EPOCH)))
    for other in (replace(SECOND, kind=AuthorityKind.JWT), authority("cc", trust_domain=TrustDomain("other.org"))):
        await change(store, lambda unit, o=other: unit.authorities.add(o.activated(EPOCH)))

    def rotate(unit):
        unit.authorities.add(authority("dd"))
        active = unit.authorities.get(FIRST.id)
        unit.authorities.compare_and_swap(active, replace(active, state=AuthorityState.OLD))
        unit.authorities.compare_and_swap(authority("dd"), authority("dd").activated(later(1)))

    await change(store, rotate)
    assert (await store.read(lambda unit: unit.authorities.get("dd"))).activated_at == later(1)


async def test_an_id_is_used_once(store: Store) -> None:
    await change(store, lambda unit: unit.authorities.add(FIRST))
    with pytest.raises(ConstraintViolated):
        await change(store, lambda unit: unit.authorities.add(FIRST))
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.authorities.remove("dd"))


async def test_whoever_decided_by_an_older_journal_looks_again(store: Store) -> None:
    before = await store.read(lambda unit: unit.authorities.journal())
    assert (before.revision, before.authorities) == (0, ())
    await change(store, lambda unit: unit.authorities.add(FIRST))

    def late(unit):
        unit.authorities.expect(before.revision)
        unit.authorities.add(SECOND)

    with pytest.raises(Conflict) as caught:
        await change(store, late)
    assert caught.value.current == 1
    now = await store.read(lambda unit: unit.authorities.journal())
    assert [one.id for one in now.authorities] == [FIRST.id]

    def in_time(unit):
        unit.authorities.expect(now.revision)
        unit.authorities.add(SECOND)

    await change(store, in_time)
    assert (await store.read(lambda unit: unit.authorities.journal())).revision == 2


async def test_of_two_who_decide_by_one_journal_one_wins(store: Store) -> None:
    revision = (await store.read(lambda unit: unit.authorities.journal())).revision

    def decide(item):
        def work(unit):
            unit.authorities.expect(revision)
            unit.authorities.add(item)

        return work

    results = await asyncio.gather(*(change(store, decide(item)) for item in (FIRST, SECOND)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
    assert len(await store.read(lambda unit: unit.authorities.all())) == 1


async def test_an_authority_below_a_root_that_is_published_waits_for_nobody(store: Store) -> None:
    """Its sequence is that from which on bundles had all of its roots; a revoked authority brings none."""
    below = replace(FIRST, roots=(b"root",), chain=(b"cert",))
    await change(store, lambda unit: unit.authorities.add(below))
    await change(store, lambda unit: unit.authorities.add(replace(SECOND, roots=(b"root",))))
    third = authority("dd" * 20, roots=(b"root", b"another root"), created_at=later(3))
    await change(store, lambda unit: unit.authorities.add(third))
    stored = await store.read(lambda unit: unit.authorities.all())
    assert [one.published_sequence for one in stored] == [1, 1, 3]
    for one in stored:
        await change(store, lambda unit, o=one: unit.authorities.compare_and_swap(o, replace(o, revoked=True)))
    fourth = authority("ee" * 20, roots=(b"root",), created_at=later(4))
    await change(store, lambda unit: unit.authorities.add(fourth))
    assert (await store.read(lambda unit: unit.authorities.get(fourth.id))).published_sequence == 7


async def test_new_roots_of_an_authority_are_published_from_the_next_bundle_on(store: Store) -> None:
    """And whoever is below a new root later has that sequence, not the one of the authority that brought it."""
    below = replace(FIRST, roots=(b"old",), chain=(b"cert",))
    await change(store, lambda unit: unit.authorities.add(below))
    both = replace(below, roots=(b"old", b"new"))
    await change(store, lambda unit: unit.authorities.compare_and_swap(below, both))
    standing = await store.read(lambda unit: unit.authorities.get(FIRST.id))
    assert (standing.roots, standing.published_sequence) == ((b"old", b"new"), 2)
    assert await store.read(lambda unit: unit.authorities.bundle_sequence) == 2
    await change(store, lambda unit: unit.authorities.add(replace(SECOND, roots=(b"new",), chain=(b"cert 2",))))
    assert (await store.read(lambda unit: unit.authorities.get(SECOND.id))).published_sequence == 2
    await change(store, lambda unit: unit.authorities.compare_and_swap(both, replace(both, roots=(b"new",))))
    standing = await store.read(lambda unit: unit.authorities.get(FIRST.id))
    assert (standing.roots, standing.published_sequence) == ((b"new",), 2)  # one less to wait for
    assert await store.read(lambda unit: unit.authorities.bundle_sequence) == 4
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.authorities.compare_and_swap(both, below))


async def test_who_decides_to_sign_is_not_overtaken_by_who_taints(store: Store) -> None:
    """The decision is recorded before the taint is, or not at all: so whoever taints knows all that was signed."""
    await change(store, lambda unit: unit.authorities.add(FIRST))
    held, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def decide(unit: UnitOfWork) -> None:
        assert not unit.authorities.hold(FIRST.id).tainted
        held.set()
        assert go_on.wait(10)
        order.append("decided")

    def taint(unit: UnitOfWork) -> None:
        unit.authorities.compare_and_swap(FIRST, replace(FIRST, tainted=True))
        unit.audit.append(event())
        order.append("tainted")

    deciding = asyncio.create_task(store.write(decide))
    await asyncio.to_thread(held.wait, 10)
    tainting = asyncio.create_task(store.write(taint))
    await asyncio.sleep(0.2)
    assert not tainting.done()
    go_on.set()
    await asyncio.gather(deciding, tainting)
    assert order == ["decided", "tainted"]
    assert (await store.write(lambda unit: unit.authorities.hold(FIRST.id))).tainted
    with pytest.raises(NotFound):
        await store.write(lambda unit: unit.authorities.hold("dd"))
