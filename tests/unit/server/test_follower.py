"""The authorised state follows a real database: at once, across gaps, and through outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.entry import EntrySpec
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind, AuthorityState
from ca.bundle import JwtKey
from ca.errors import AuthorityUnavailable
from ca.revocation import Reason
from sds.audit.event import Target
from sds.server.events import Events, system_actor
from sds.server.follower import Bundles, Follower, load_facts
from sds.server.registry import Registry
from sds.store import errors
from sds.store.errors import StoreUnavailable
from sds.store.revocation.records import BlockKind, BlockRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.ca import TRUST_DOMAIN, make_authority
from tests.fakes.clock import FakeClock
from tests.fakes.slots import slot
from tests.fakes.wait import PATIENCE, until

AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/a")
BUNDLES = Bundles(TRUST_DOMAIN, timedelta(minutes=5))


class World:
    def __init__(self, store: Store, events: Events, clock: FakeClock, registry: Registry) -> None:
        self.store, self.events, self.clock, self.registry = store, events, clock, registry
        self.follower = Follower(store, registry, BUNDLES, clock)

    async def change(self, work: Callable[[UnitOfWork], object]) -> None:
        def audited(uow: UnitOfWork) -> None:
            work(uow)
            uow.audit.append(self.events.make(uow.now, "test", system_actor(), Target("test", "")))

        await self.store.write(audited)

    async def entry(self, name: str, *, seconds: float | None = None) -> None:
        expires = self.clock.now() + timedelta(seconds=seconds) if seconds is not None else None
        selectors = frozenset({Selector("unix", "uid:1")})
        spec = EntrySpec(SpiffeId(TRUST_DOMAIN, f"/{name}"), AGENT, selectors, expires_at=expires)
        await self.change(lambda uow: uow.entries.create(spec, name))

    def names(self) -> set[str]:
        return {entry.id for entry in self.registry.entries_of(AGENT)}


@asynccontextmanager
async def following(store: Store, events: Events, clock: FakeClock) -> AsyncIterator[World]:
    world = World(store, events, clock, Registry(await load_facts(store, BUNDLES), now=clock.now()))
    task = asyncio.create_task(world.follower.run())
    try:
        yield world
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_committed_is_known_at_once(store: Store, events: Events, clock: FakeClock) -> None:
    async with following(store, events, clock) as world:
        for number in range(5):
            await world.entry(f"e{number}")
            assert await world.follower.caught_up(2)
            assert len(world.names()) == number + 1
        await world.change(lambda uow: uow.entries.delete("e0"))
        assert await world.follower.caught_up(2)
        assert world.names() == {"e1", "e2", "e3", "e4"}


async def test_a_new_server_starts_where_the_old_one_ended(store: Store, events: Events, clock: FakeClock) -> None:
    async with following(store, events, clock) as world:
        await world.entry("one")
        await world.entry("two")
        await world.follower.caught_up(2)
        revision, epoch = world.registry.revision, world.registry.epoch
    await world.change(lambda uow: uow.entries.delete("one"))
    facts = await load_facts(store, BUNDLES)
    update = Registry(facts, now=clock.now()).watch(AGENT, revision, epoch, now=clock.now()).take()
    assert update is not None
    assert (update.snapshot, update.upserted, update.removed) == (False, (), ("one",))


async def test_a_gap_in_the_feed_is_bridged_by_loading_everything(
    store: Store, events: Events, clock: FakeClock
) -> None:
    registry = Registry(await load_facts(store, BUNDLES), now=clock.now())
    world = World(store, events, clock, registry)
    await world.entry("one")
    await world.entry("two")
    clock.advance(10)
    await store.write(lambda uow: uow.changes.prune(uow.now))  # what this registry has not seen is gone
    watcher = registry.watch(AGENT, 0, "", now=clock.now())
    watcher.take()
    task = asyncio.create_task(world.follower.run())
    assert await watcher.wait(3)
    update = watcher.take()
    assert update is not None
    assert update.snapshot
    assert {entry.id for entry in update.upserted} == {"one", "two"}
    await world.entry("three")
    await world.follower.caught_up(2)
    assert world.names() == {"one", "two", "three"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_expiry_is_told_although_nothing_was_committed(store: Store, events: Events, clock: FakeClock) -> None:
    async with following(store, events, clock) as world:
        await world.entry("short", seconds=30)
        await world.follower.caught_up(2)
        watcher = world.registry.watch(AGENT, 0, "", now=clock.now())
        watcher.take()
        clock.advance(30)
        assert await watcher.wait(3)
        update = watcher.take()
        assert update is not None
        assert update.removed == ("short",)


async def test_authorities_change_the_bundle_and_are_announced(store: Store, events: Events, clock: FakeClock) -> None:
    told = 0

    async def listen() -> None:
        nonlocal told
        told += 1
        raise AuthorityUnavailable("a listener that fails stops nothing")

    async with following(store, events, clock) as world:
        world.follower.on_authorities(listen)
        authority = make_authority(now=clock.now()).authority
        await world.change(lambda uow: uow.authorities.add(authority))
        await world.follower.caught_up(2)
        assert world.registry.bundle.x509_authorities == (authority.certificate,)
        assert world.registry.bundle.sequence == 1
        await world.entry("one")
        await world.follower.caught_up(2)
        assert world.names() == {"one"}
        assert told == 1


async def test_an_outage_is_waited_for(store: Store, events: Events, clock: FakeClock) -> None:
    class Flaky:
        """A store that cannot be read for a while."""

        down = 0

        def __init__(self) -> None:
            self.write, self.feed, self.close = store.write, store.feed, store.close

        async def read(self, work: Callable[[UnitOfWork], object]) -> object:
            if self.down:
                self.down -= 1
                raise StoreUnavailable(errors.Reason.IO)
            return await store.read(work)

    flaky = Flaky()
    registry = Registry(await load_facts(store, BUNDLES), now=clock.now())
    world = World(store, events, clock, registry)
    follower = Follower(flaky, registry, BUNDLES, clock)  # type: ignore[arg-type]
    task = asyncio.create_task(follower.run())
    flaky.down = 3
    await world.entry("one")
    await until(lambda: world.names() == {"one"})
    assert flaky.down == 0
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_ends_with_the_store(store: Store, events: Events, clock: FakeClock) -> None:
    registry = Registry(await load_facts(store, BUNDLES), now=clock.now())
    task = asyncio.create_task(Follower(store, registry, BUNDLES, clock).run())
    await asyncio.sleep(0.05)
    await store.close()
    async with asyncio.timeout(PATIENCE):
        await task
    with pytest.raises(StoreUnavailable):
        await load_facts(store, BUNDLES)


def test_the_bundle_follows_from_the_slots_alone() -> None:
    """Not from the time: what sidecars acknowledge as a sequence must be the same wherever it was put together."""
    root = slot("r1", AuthorityState.ACTIVE, certificate=b"root")
    slots = (
        slot("gone", AuthorityState.OLD, revoked=True, certificate=b"gone"),
        slot("expired", AuthorityState.OLD, life=timedelta(seconds=1), certificate=b"expired"),
        replace(root, roots=(b"up", b"up2"), certificate=b"below"),
        replace(root, id="r2", state=AuthorityState.PREPARED, roots=(b"up",), certificate=b"below2"),
        slot("k1", AuthorityState.ACTIVE, kind=AuthorityKind.JWT, tainted=True),
        slot("k0", AuthorityState.OLD, kind=AuthorityKind.JWT, revoked=True, tainted=True),
    )
    bundle = BUNDLES.of(slots, 7)
    assert bundle.x509_authorities == (b"expired", b"up", b"up2")
    assert bundle.jwt_keys == (JwtKey("k1", b"k1", slots[4].not_after),)
    assert bundle.tainted == {"k1"}
    assert bundle.sequence == 7


def test_a_bundle_has_the_lists_of_all_that_issue_or_none() -> None:
    """A verifier that has one list refuses what all other issuers issued."""
    active = slot("r2", AuthorityState.ACTIVE)
    old = slot("r1", AuthorityState.OLD, tainted=True)
    coming = slot("r3", AuthorityState.PREPARED)
    gone = slot("r0", AuthorityState.OLD, revoked=True)
    token = slot("k1", AuthorityState.ACTIVE, kind=AuthorityKind.JWT)
    slots = (gone, old, active, coming, token)
    lists = {name: f"list of {name}".encode() for name in ("r0", "r1", "r2", "r3")}

    def crls(*without: str) -> tuple[bytes, ...]:
        return BUNDLES.of(slots, 7, {name: der for name, der in lists.items() if name not in without}).crls

    assert crls() == (lists["r1"], lists["r2"], lists["r3"])
    assert crls("r0") == crls()
    assert crls("r3") == (lists["r1"], lists["r2"])
    assert crls("r1") == crls("r2") == crls(*lists) == ()
    assert BUNDLES.of(slots, 7).crls == ()


def test_a_bundle_has_no_lists_where_other_servers_issue_below_the_same_roots() -> None:
    ours = slot("r1", AuthorityState.ACTIVE)
    below_files = replace(ours, upstream="disk", roots=(b"root",))
    below_a_server = replace(ours, upstream="sds", roots=(b"root",))
    assert BUNDLES.of((below_files,), 7, {"r1": b"list"}).crls == (b"list",)
    assert BUNDLES.of((below_a_server,), 7, {"r1": b"list"}).crls == ()


async def test_who_resumes_across_a_restart_learns_of_a_lifted_block(
    store: Store, events: Events, clock: FakeClock
) -> None:
    async with following(store, events, clock) as world:
        await world.entry("one")
        await world.entry("two")
        block = BlockRecord("b1", BlockKind.ENTRY, "one", Reason.UNSPECIFIED, "", clock.now(), "uid:0")
        await world.change(lambda uow: uow.blocks.add(block))
        assert await world.follower.caught_up(5)
        assert world.registry.entry("one") is None
        blocked_at = world.registry.revision
    await world.change(lambda uow: uow.blocks.lift("b1", "uid:0"))
    registry = Registry(await load_facts(store, BUNDLES), now=clock.now())
    update = registry.watch(AGENT, blocked_at, registry.epoch, now=clock.now()).take()
    assert update is not None
    assert [entry.id for entry in update.upserted] == ["one"]
    assert not update.snapshot
