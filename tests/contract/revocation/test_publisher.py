"""Every published authority has a true list, or none has one; on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ca.authority import AuthorityState
from ca.errors import AuthorityUnavailable
from ca.revocation import MAX_REVOKED, Reason
from sds.server.revocation.lists import PRUNE_AFTER, first_list
from sds.server.revocation.publisher import CRL_FLOOR
from sds.store.revocation.records import BlockKind, BlockRecord
from sds.store.unit_of_work import UnitOfWork
from tests.contract.revocation.conftest import World


async def test_while_nothing_was_revoked_there_are_no_lists(world: World) -> None:
    await world.authority()
    before = await world.sequence()
    await world.publisher().ensure()
    assert await world.lists() == {}
    assert await world.sequence() == before


async def test_the_first_revocation_gives_every_authority_a_list(world: World) -> None:
    old = await world.authority(AuthorityState.OLD, tainted=True)
    active = await world.authority()
    coming = await world.authority(AuthorityState.PREPARED)
    gone = await world.authority(AuthorityState.OLD, revoked=True)
    record = await world.certificate("0a" * 20, active)
    await world.revoke(record)
    before = await world.sequence()
    await world.publisher().ensure()
    lists = await world.lists()
    assert lists.keys() == {old.authority.id, active.authority.id, coming.authority.id}
    assert lists[active.authority.id].serials == {record.serial}
    assert lists[old.authority.id].serials == lists[coming.authority.id].serials == frozenset()
    for signing in (old, active, coming):
        crl = lists[signing.authority.id]
        assert crl.signed_by(signing.authority.certificate)
        assert crl.next_update == signing.authority.not_after
    assert gone.authority.id not in lists
    assert await world.sequence() == before + 1  # all of them are one change of the bundle
    events = await world.events("crl.publish")
    assert {event.target.id for event in events} == lists.keys()
    assert {event.target.id: event.details["entries"] for event in events}[active.authority.id] == 1
    assert world.observer.revoked == [(1, False)]
    assert world.observer.made == 3


async def test_what_says_the_truth_is_not_signed_again(world: World) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    publisher = world.publisher()
    await publisher.ensure()
    before, sequence = await world.lists(), await world.sequence()
    await publisher.ensure()
    await world.publisher().ensure()
    assert await world.lists() == before
    assert await world.sequence() == sequence


async def test_only_the_list_that_changes_is_made_anew(world: World) -> None:
    first, second = await world.authority(AuthorityState.OLD), await world.authority()
    await world.revoke(await world.certificate("0a" * 20, first))
    publisher = world.publisher()
    await publisher.ensure()
    before = await world.lists()
    world.clock.advance(1)
    await world.revoke(await world.certificate("0b" * 20, second))
    await publisher.ensure()
    after = await world.lists()
    assert after[first.authority.id] == before[first.authority.id]
    assert after[second.authority.id].number > before[second.authority.id].number
    assert after[second.authority.id].serials == {"0b" * 20}


async def test_what_has_expired_leaves_the_list_in_time(world: World) -> None:
    active = await world.authority()
    short = await world.certificate("0a" * 20, active, not_after=world.clock.now() + timedelta(minutes=5))
    long = await world.certificate("0b" * 20, active, not_after=world.clock.now() + timedelta(days=3))
    await world.revoke(short, long)
    await world.publisher().ensure()
    (before,) = (await world.lists()).values()
    assert before.serials == {short.serial, long.serial}
    world.clock.advance(600)
    await world.publisher().ensure()  # no new list for each expiry: every sidecar would get it
    assert list((await world.lists()).values()) == [before]
    world.clock.advance(PRUNE_AFTER.total_seconds())
    await world.publisher().ensure()
    (after,) = (await world.lists()).values()
    assert after.serials == {long.serial}
    assert after.number > before.number


async def test_a_new_revocation_leaves_out_what_has_expired(world: World) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active, not_after=world.clock.now() + timedelta(minutes=1)))
    await world.publisher().ensure()
    world.clock.advance(120)
    await world.revoke(await world.certificate("0b" * 20, active))
    await world.publisher().ensure()
    (crl,) = (await world.lists()).values()
    assert crl.serials == {"0b" * 20}


async def test_a_released_hold_leaves_the_list_at_once(world: World) -> None:
    active = await world.authority()
    block = await world.revoke(await world.certificate("0a" * 20, active), reason=Reason.CERTIFICATE_HOLD)
    publisher = world.publisher()
    await publisher.ensure()
    (held,) = (await world.lists()).values()
    assert [one.reason for one in held.revoked()] == [Reason.CERTIFICATE_HOLD]
    world.clock.advance(1)

    def lift(uow: UnitOfWork) -> None:
        uow.blocks.lift(block.id, "uid:0")
        uow.crls.outdate(uow.revocations.release(block))

    await world.change(lift)
    await publisher.ensure()
    (after,) = (await world.lists()).values()
    assert after.serials == frozenset()
    assert after.number > held.number


async def test_a_hold_that_becomes_final_says_so(world: World) -> None:
    active = await world.authority()
    record = await world.certificate("0a" * 20, active)
    await world.revoke(record, reason=Reason.CERTIFICATE_HOLD)
    await world.publisher().ensure()

    def work(uow: UnitOfWork) -> None:
        block = BlockRecord("b2", BlockKind.SERIAL, record.serial, Reason.KEY_COMPROMISE, "", uow.now, "uid:0")
        uow.blocks.add(block)
        (held,) = uow.revocations.all()
        uow.revocations.add([replace(held, reason=Reason.KEY_COMPROMISE, block_id="b2")])

    await world.change(work)
    await world.publisher().ensure()
    (crl,) = (await world.lists()).values()
    assert [one.reason for one in crl.revoked()] == [Reason.KEY_COMPROMISE]


async def test_what_slipped_past_a_block_is_revoked_after_all(world: World) -> None:
    active = await world.authority()
    block = BlockRecord("b1", BlockKind.ENTRY, "entry-1", Reason.SUPERSEDED, "", world.clock.now(), "uid:0")
    await world.change(lambda uow: uow.blocks.add(block))
    record = await world.certificate("0a" * 20, active, entry_id="entry-1")
    await world.publisher().ensure()
    (crl,) = (await world.lists()).values()
    assert crl.serials == {record.serial}
    (event,) = await world.events("certificate.revoke")
    assert (event.target.id, event.details["block_id"]) == (record.serial, "b1")


async def test_lists_stay_when_all_that_was_revoked_has_expired(world: World) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    world.clock.advance(86_400)
    await world.publisher().ensure()
    (crl,) = (await world.lists()).values()
    assert crl.serials == frozenset()


async def test_an_authority_that_joins_brings_its_list_with_it(world: World) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    coming = await world.authority(AuthorityState.PREPARED)
    made = first_list(coming, world.clock.now())
    await world.change(lambda uow: uow.crls.put(made, over=None))
    before = await world.lists()
    assert before.keys() == {active.authority.id, coming.authority.id}
    await world.publisher().ensure()
    assert await world.lists() == before


async def test_an_authority_without_a_list_gets_one(world: World) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    coming = await world.authority(AuthorityState.PREPARED)
    await world.publisher().ensure()
    assert (await world.lists()).keys() == {active.authority.id, coming.authority.id}


async def test_the_list_of_an_authority_that_is_gone_goes_too(world: World) -> None:
    gone, active = await world.authority(AuthorityState.OLD), await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    standing = await world.store.read(lambda uow: uow.authorities.get(gone.authority.id))
    await world.change(lambda uow: uow.authorities.compare_and_swap(standing, replace(standing, revoked=True)))
    await world.publisher().ensure()
    assert (await world.lists()).keys() == {active.authority.id}
    assert [event.target.id for event in await world.events("crl.remove")] == [gone.authority.id]


async def test_no_first_list_without_all_others(world: World) -> None:
    """One list alone would cut off what all other authorities issued."""
    away, active = await world.authority(AuthorityState.OLD), await world.authority()
    world.away.add(away.authority.id)
    await world.revoke(await world.certificate("0a" * 20, active))
    publisher = world.publisher()
    with pytest.raises(AuthorityUnavailable):
        await publisher.ensure()
    assert await world.lists() == {}
    assert publisher.problem == "the key does not answer"
    assert world.observer.revoked == [(0, True)]
    await publisher.tick()  # logged
    world.away.clear()
    await publisher.ensure()
    assert len(await world.lists()) == 2
    assert publisher.problem is None


async def test_an_authority_whose_key_is_away_keeps_its_list_and_holds_up_no_other(world: World) -> None:
    away, active = await world.authority(AuthorityState.OLD), await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    publisher = world.publisher()
    await publisher.ensure()
    world.clock.advance(1)
    world.away.add(away.authority.id)
    await world.revoke(await world.certificate("0b" * 20, away), await world.certificate("0c" * 20, active))
    with pytest.raises(AuthorityUnavailable):
        await publisher.ensure()
    lists = await world.lists()
    assert lists[away.authority.id].serials == frozenset()
    assert lists[active.authority.id].serials == {"0a" * 20, "0c" * 20}
    world.away.clear()
    await publisher.ensure()
    assert (await world.lists())[away.authority.id].serials == {"0b" * 20}


async def test_replicas_do_not_fight(world: World) -> None:
    active = await world.authority()
    publishers = [world.publisher() for _ in range(4)]
    for number in range(5):
        await world.revoke(await world.certificate(f"{number + 1:040x}", active))
        await asyncio.gather(*(publisher.ensure() for publisher in publishers))
        (crl,) = (await world.lists()).values()
        assert len(crl.serials) == number + 1
    # Whoever came second found it done: one list for each revocation.
    assert len(await world.events("crl.publish")) == 5


async def test_numbers_grow_although_the_clock_goes_back(world: World) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    (before,) = (await world.lists()).values()
    world.clock.advance(-3600)
    await world.revoke(await world.certificate("0b" * 20, active))
    await world.publisher().ensure()
    (after,) = (await world.lists()).values()
    assert after.number == before.number + 1


async def test_numbers_start_above_what_a_restored_database_had(world: World) -> None:
    floor = 10**15
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.change(lambda uow: uow.settings.put(CRL_FLOOR, str(floor)))
    await world.publisher().ensure()
    (crl,) = (await world.lists()).values()
    assert crl.number == floor + 1


async def test_the_list_of_an_expired_authority_holds_a_while(world: World) -> None:
    """It stays in the bundle until rotation drops it; what it issued has expired anyway."""
    expired, active = await world.authority(AuthorityState.OLD, timedelta(hours=1)), await world.authority()
    world.clock.advance(7200)
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    assert (await world.lists())[expired.authority.id].next_update > world.clock.now()


async def test_more_than_a_list_may_hold_is_an_error_that_says_so(world: World) -> None:
    active = await world.authority()
    record = await world.certificate("0a" * 20, active)
    many = [replace(record, serial=f"{n + 1:040x}") for n in range(MAX_REVOKED + 1)]
    await world.revoke(*many)
    with pytest.raises(ValueError, match="more than"):
        await world.publisher().ensure()
