from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import JwtKey, TrustBundle, make_bundle
from ca.keys import KeyType, generate, spki_der
from sds.store.change_records import Change
from sds.store.errors import Conflict, ConstraintViolated, NotFound, UnauditedChange
from sds.store.federations import BundleSource, EndpointProfile, FederationRecord
from sds.store.records import ChangeKind
from sds.store.store import Store
from sds.store.tables import federations
from tests.contract.store.samples import change
from tests.fakes.ca import make_authority
from tests.fakes.clock import EPOCH, FakeClock

OTHER = TrustDomain("other.example")
WEB = BundleSource(EndpointProfile.HTTPS_WEB, "https://other.example/bundle")
SPIFFE = BundleSource(
    EndpointProfile.HTTPS_SPIFFE, "https://10.0.0.1:8446/", SpiffeId.parse("spiffe://other.example/sds/server")
)
JWT = JwtKey("k1", spki_der(generate(KeyType.ECDSA_P256).public_key()))


def bundle(sequence: int = 1, hint: int = 60) -> TrustBundle:
    certificate = make_authority(OTHER).authority.certificate
    return make_bundle(OTHER, [certificate], sequence, timedelta(seconds=hint), jwt_keys=[JWT])


async def create(store: Store, source: BundleSource = WEB, first: TrustBundle | None = None) -> FederationRecord:
    return await change(store, lambda unit: unit.federations.create(OTHER, source, first))


async def get(store: Store) -> FederationRecord:
    return await store.read(lambda unit: unit.federations.get(OTHER))


async def told(store: Store) -> list[tuple[ChangeKind, str]]:
    def read(unit) -> tuple[Change, ...]:
        return unit.changes.since(0).changes

    return [(one.kind, one.key) for one in await store.read(read)]


async def test_what_is_stored_comes_back(store: Store) -> None:
    first = bundle()
    created = await create(store, SPIFFE, first)
    assert (created.source, created.bundle, created.fetched_at, created.problem) == (SPIFFE, first, None, "")
    assert created == await get(store)
    assert await store.read(lambda unit: unit.federations.all()) == (created,)
    assert await told(store) == [(ChangeKind.FEDERATION, "other.example")]


async def test_a_name_is_taken_once(store: Store) -> None:
    await create(store)
    with pytest.raises(ConstraintViolated):
        await create(store)


async def test_every_change_needs_an_event(store: Store) -> None:
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.federations.create(OTHER, WEB))
    await create(store)
    for work in (
        lambda unit: unit.federations.use_source(OTHER, SPIFFE),
        lambda unit: unit.federations.set_bundle(OTHER, bundle()),
        lambda unit: unit.federations.compare_and_swap(unit.federations.get(OTHER), bundle()),
        lambda unit: unit.federations.delete(OTHER),
    ):
        with pytest.raises(UnauditedChange):
            await store.write(work)
    assert (await get(store)).source == WEB


async def test_a_poll_without_news_is_no_change(store: Store, clock: FakeClock) -> None:
    await create(store)
    before = await told(store)
    clock.advance(10)
    await store.write(lambda unit: unit.federations.note_poll(OTHER, WEB))
    found = await get(store)
    assert (found.fetched_at, found.tried_at, found.problem) == (clock.now(), clock.now(), "")
    clock.advance(10)
    await store.write(lambda unit: unit.federations.note_poll(OTHER, WEB, "no route"))
    failed = await get(store)
    assert (failed.fetched_at, failed.tried_at, failed.problem) == (found.fetched_at, clock.now(), "no route")
    assert await told(store) == before


async def test_what_a_former_endpoint_says_counts_no_more(store: Store) -> None:
    former = await create(store, WEB)
    await change(store, lambda unit: unit.federations.use_source(OTHER, SPIFFE))
    await store.write(lambda unit: unit.federations.note_poll(OTHER, WEB, "late"))
    assert (await get(store)).problem == ""
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.federations.compare_and_swap(former, bundle()))
    assert (await get(store)).bundle is None


async def test_of_many_who_saw_the_same_one_writes(store: Store) -> None:
    seen = await create(store, WEB, bundle(1))
    results = await asyncio.gather(
        *(change(store, lambda unit, n=n: unit.federations.compare_and_swap(seen, bundle(n))) for n in range(2, 8)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["Conflict"] * 5 + ["FederationRecord"]
    (winner,) = [each for each in results if isinstance(each, FederationRecord)]
    assert await get(store) == winner
    assert winner.fetched_at == EPOCH


async def test_a_swap_after_the_deletion_finds_nothing(store: Store) -> None:
    seen = await create(store)
    assert await change(store, lambda unit: unit.federations.delete(OTHER)) == seen
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.federations.compare_and_swap(seen, bundle()))
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.federations.delete(OTHER))
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.federations.set_bundle(OTHER, bundle()))
    assert await store.read(lambda unit: unit.federations.find(OTHER)) is None


async def test_a_bundle_may_be_set_by_hand_whatever_stands(store: Store) -> None:
    await create(store, WEB, bundle(9))
    lower = bundle(3)
    found = await change(store, lambda unit: unit.federations.set_bundle(OTHER, lower))
    assert found.bundle == lower


async def test_an_empty_bundle_is_a_bundle(store: Store) -> None:
    """Trust Domain and Bundle 4.1.3: all keys taken back, which is not the same as never having had one."""
    await create(store, WEB, bundle())
    empty = make_bundle(OTHER, [], 2)
    found = await change(store, lambda unit: unit.federations.compare_and_swap(unit.federations.get(OTHER), empty))
    assert found.bundle == empty


async def test_polls_are_those_with_an_endpoint(store: Store) -> None:
    await create(store, WEB, bundle(hint=77))
    static = TrustDomain("static.example")
    await change(
        store,
        lambda unit: unit.federations.create(
            static, BundleSource(EndpointProfile.STATIC), replace(bundle(), trust_domain=static)
        ),
    )
    (poll,) = await store.read(lambda unit: unit.federations.polls())
    assert (poll.trust_domain, poll.source, poll.refresh_hint) == (OTHER, WEB, timedelta(seconds=77))
    assert await store.read(lambda unit: unit.federations.count()) == 2


async def test_a_stored_bundle_that_cannot_be_read_trusts_nobody_and_says_so(store: Store) -> None:
    await create(store, WEB, bundle())

    def damage(unit) -> None:

        unit._tx.note(update(federations).values(bundle=b"{}"))

    await store.write(damage)
    found = await get(store)
    assert found.bundle is None
    assert found.problem.startswith("the stored bundle is refused")
    replaced = bundle()
    assert (
        await change(store, lambda unit: unit.federations.compare_and_swap(unit.federations.get(OTHER), replaced))
    ).bundle == replaced
