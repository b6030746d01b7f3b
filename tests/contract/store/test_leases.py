from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.spiffe_id import SpiffeId
from sds.secrets.leasing.lease import Lease, LeaseState, Receiver
from sds.store.errors import UnauditedChange
from sds.store.secrets.leases import SealedCredentials
from sds.store.store import Store
from tests.contract.store.samples import change
from tests.fakes.clock import EPOCH, FakeClock

WEB = Receiver("s1", SpiffeId.parse("spiffe://example.org/web"))
PENDING = Lease("l1", WEB, 1, LeaseState.PENDING, "accessor", "one", EPOCH)
TTL = timedelta(hours=1)
LIVE = replace(PENDING, state=LeaseState.LIVE, lease_id="db/creds/r/1", ttl=TTL, expires_at=EPOCH + TTL)
SEALED = SealedCredentials(b"n" * 12, b"sealed")


async def all_of(store: Store) -> tuple[Lease, ...]:
    return await store.read(lambda uow: uow.leases.all())


async def live(store: Store) -> None:
    assert await change(store, lambda uow: uow.leases.begin(PENDING))
    assert await store.write(lambda uow: uow.leases.activate(LIVE, SEALED))


async def test_from_the_beginning_to_the_end(store: Store) -> None:
    assert await change(store, lambda uow: uow.leases.begin(PENDING))
    assert await all_of(store) == (PENDING,)
    assert await store.write(lambda uow: uow.leases.activate(LIVE, SEALED))
    assert await all_of(store) == (LIVE,)
    assert await store.read(lambda uow: uow.leases.credentials(LIVE)) == SEALED
    assert await change(store, lambda uow: uow.leases.end(LIVE, EPOCH))
    assert await store.read(lambda uow: uow.leases.credentials(LIVE)) is None
    (ending,) = await all_of(store)
    assert (ending.state, ending.expires_at, ending.accessor) == (LeaseState.ENDING, EPOCH, "accessor")
    assert await store.write(lambda uow: uow.leases.remove(ending))
    assert not await store.write(lambda uow: uow.leases.remove(ending))
    assert await all_of(store) == ()


async def test_each_step_is_taken_once(store: Store) -> None:
    await live(store)
    assert not await store.write(lambda uow: uow.leases.begin(replace(PENDING, id="l2"))), "the generation is taken"
    assert not await store.write(lambda uow: uow.leases.activate(LIVE, SEALED))
    assert not await store.write(lambda uow: uow.leases.end(PENDING, EPOCH)), "it is not pending any more"
    until = EPOCH + 2 * TTL
    assert await store.write(lambda uow: uow.leases.renewed(LIVE, until, None, "two"))
    assert not await store.write(lambda uow: uow.leases.renewed(LIVE, until, None, "one")), "somebody was faster"
    assert not await store.write(lambda uow: uow.leases.remove(LIVE)), "it has to end first"
    (standing,) = await all_of(store)
    assert (standing.holder, standing.expires_at, standing.renewed_at) == ("two", until, EPOCH)


async def test_beginning_and_ending_need_an_event(store: Store) -> None:
    with pytest.raises(UnauditedChange):
        await store.write(lambda uow: uow.leases.begin(PENDING))
    await live(store)
    with pytest.raises(UnauditedChange):
        await store.write(lambda uow: uow.leases.end(LIVE, EPOCH))
    assert await all_of(store) == (LIVE,)


async def test_users_go_with_a_replica_that_is_gone(store: Store, clock: FakeClock) -> None:
    await store.write(lambda uow: uow.leases.use(WEB, "one"))
    await store.write(lambda uow: uow.leases.use(WEB, "two"))
    await store.write(lambda uow: uow.leases.use(WEB, "two"))
    assert await store.read(lambda uow: uow.leases.users()) == {WEB: {"one", "two"}}
    seen = await store.read(lambda uow: uow.leases.replicas())
    clock.advance(60)
    await store.write(lambda uow: uow.leases.beat("one"))
    assert not await store.write(lambda uow: uow.leases.forget_replica("one", seen["one"])), "it was seen again"
    assert await store.write(lambda uow: uow.leases.forget_replica("two", seen["two"]))
    assert await store.read(lambda uow: uow.leases.users()) == {WEB: {"one"}}
    await store.write(lambda uow: uow.leases.unuse(WEB, "one"))
    assert await store.read(lambda uow: uow.leases.users()) == {}
