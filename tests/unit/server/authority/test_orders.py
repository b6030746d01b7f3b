"""What administrators order of authorities: prepare, activate, taint, revoke, drop; and where the schedule is off."""

from dataclasses import replace

import pytest

from ca.errors import AuthorityUnavailable, RotationRefused
from ca.gate import GateClosed
from ca.keys import spki_der
from sds.server.events import Events
from sds.store.errors import NotFound
from sds.store.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.key_manager import FakeKeyManager
from tests.fakes.rotation import ASKED, HOUR, POLICY, X509_LIFE, make_authorities
from tests.unit.server.authority.kit import ACTIVE, DAY, JWT, PREPARED, X509, log, prepared, states, straggle


async def test_prepare_is_refused_while_one_is_prepared(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    one = await prepared(authorities)
    assert [slot for slot in authorities.slots(X509) if slot.state is PREPARED] == [one]
    with pytest.raises(RotationRefused, match=f"{one.id} is prepared already"):
        await prepared(authorities)
    assert (await prepared(authorities, JWT)).kind is JWT
    event = (await log(store))[-1]
    assert (event.action, event.request_id) == ("authority.prepare", "request-1")


async def test_activate_waits_for_the_gate_or_force_and_says_whom_it_cuts_off(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    await straggle(store, events, sequence=2)
    following = await prepared(authorities)
    with pytest.raises(GateClosed, match="1 of 1 have not acknowledged bundle 3") as closed:
        await authorities.activate(following.id, ASKED)
    assert closed.value.gate == await authorities.gate(following.id)
    assert (await authorities.activate(following.id, ASKED, force=True)).state is ACTIVE
    assert authorities.signing().authority.id == following.id
    event = (await log(store))[-1]
    gate = event.details["gate"]
    assert isinstance(gate, dict)
    assert (event.details["forced"], gate["stragglers_total"], event.reason) == (True, 1, "forced")
    assert (await authorities.activate(following.id, ASKED)).id == following.id  # done already
    assert (await log(store))[-1] == event


async def test_activate_of_what_is_ready_is_not_called_forced(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    following = await prepared(authorities)
    await authorities.activate(following.id, ASKED, force=True)
    assert (await log(store))[-1].details["forced"] is False


async def test_nobody_can_force_what_is_unsound(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    first = authorities.signing().authority
    following = await prepared(authorities)
    await authorities.activate(following.id, ASKED)
    with pytest.raises(RotationRefused, match="is old; only a prepared one"):
        await authorities.activate(first.id, ASKED, force=True)
    await authorities.taint(first.id, ASKED)
    with pytest.raises(RotationRefused, match="is tainted"):
        await authorities.activate(first.id, ASKED, force=True)
    with pytest.raises(NotFound):
        await authorities.activate("ff", ASKED)
    late = await prepared(authorities)
    clock.jump(-30 * 86400)
    with pytest.raises(RotationRefused, match="is valid from"):
        await authorities.activate(late.id, ASKED, force=True)


async def test_a_tainted_one_signs_no_more_and_another_takes_its_place(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    await straggle(store, events, sequence=2)
    first = authorities.signing().authority
    clock.advance(1)
    await authorities.taint(first.id, ASKED)
    assert await states(store) == [ACTIVE, PREPARED]  # the next one was made at once
    with pytest.raises(AuthorityUnavailable, match="was taken back"):
        authorities.signing()
    assert (await authorities.signer(first)).public_key is not None  # CRLs are signed on
    await straggle(store, events, sequence=4)
    await authorities.tick()
    assert authorities.signing().authority.id == authorities.slots(X509)[-1].id != first.id
    taint = next(event for event in await log(store) if event.action == "authority.taint")
    assert (taint.target.id, taint.details["tainted"], taint.request_id) == (first.id, True, "request-1")
    before = len(await log(store))
    await authorities.taint(first.id, ASKED)  # again: nothing new
    assert len(await log(store)) == before


async def test_an_order_stands_although_what_follows_from_it_fails(
    store: Store, clock: FakeClock, events: Events
) -> None:
    token = FakeKeyManager()
    authorities = make_authorities(store, token, events, clock)
    await authorities.ensure()
    first = authorities.signing().authority
    token.unplugged = True
    assert (await authorities.taint(first.id, ASKED)).tainted
    assert await states(store) == [ACTIVE]
    token.unplugged = False
    await authorities.tick()
    await authorities.tick()
    assert authorities.signing().authority.id != first.id


async def test_a_tainted_key_for_tokens_is_replaced_too(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    first = authorities.signing_jwt().authority
    await authorities.taint(first.id, ASKED)
    with pytest.raises(AuthorityUnavailable, match="was taken back"):
        authorities.signing_jwt()
    clock.advance(600)
    await authorities.tick()
    assert authorities.signing_jwt().authority.id != first.id


async def test_the_active_one_is_revoked_only_by_force_after_another_signs(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    await straggle(store, events, sequence=2)
    first = authorities.signing().authority
    with pytest.raises(RotationRefused, match="is the active one"):
        await authorities.revoke(first.id, ASKED)
    assert (await authorities.revoke(first.id, ASKED, force=True)).revoked
    assert authorities.signing().authority.id != first.id
    actions = [event.action for event in await log(store)][-3:]
    assert actions == ["authority.prepare", "authority.activate", "authority.revoke"]
    forced = (await log(store))[-2]
    assert (forced.details["forced"], forced.details["replaces"]) == (True, first.id)
    assert (await authorities.revoke(first.id, ASKED)).revoked  # again: nothing new


async def test_force_takes_the_prepared_one_where_there_is_one(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    following = await prepared(authorities)
    await authorities.revoke(authorities.signing().authority.id, ASKED, force=True)
    assert authorities.signing().authority.id == following.id


async def test_a_prepared_one_that_was_taken_back_is_forgotten_with_its_key(
    store: Store, clock: FakeClock, events: Events
) -> None:
    token = FakeKeyManager()
    authorities = make_authorities(store, token, events, clock)
    await authorities.ensure()
    following = await prepared(authorities)
    await authorities.revoke(following.id, ASKED)
    await authorities.tick()
    assert await states(store) == [ACTIVE]
    assert following.key_ref not in token.keys


async def test_drop_is_refused_while_something_below_it_may_be_valid(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    first = authorities.signing_jwt().authority
    with pytest.raises(RotationRefused, match="is the active one"):
        await authorities.drop(first.id, ASKED)
    following = await prepared(authorities, JWT)
    await authorities.activate(following.id, ASKED, force=True)
    with pytest.raises(RotationRefused, match="may still be valid"):
        await authorities.drop(first.id, ASKED)
    clock.advance(2 * 3600)
    await authorities.drop(first.id, ASKED)
    assert [one.id for one in authorities.slots(JWT)] == [following.id]


async def test_a_cross_certificate_goes_with_the_one_that_made_it(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    first = authorities.signing().authority
    following = await prepared(authorities)
    await authorities.activate(following.id, ASKED, cross_sign=True)
    assert len(authorities.signing().authority.chain) == 1
    assert (await log(store))[-1].details["cross_signed"] is True
    clock.advance(61)
    await authorities.tick()
    await authorities.tick()
    assert [one.id for one in authorities.slots(X509)] == [following.id]
    assert authorities.signing().authority.chain == ()
    assert first.key_ref != following.key_ref


async def test_where_the_schedule_is_off_only_what_must_be_is_done(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(
        store, FakeKeyManager(), events, clock, policy=replace(POLICY, scheduled=False), life=X509_LIFE
    )
    await authorities.ensure()
    clock.advance(9.9 * 86400)
    await authorities.tick()
    assert await states(store) == [ACTIVE]
    clock.advance(0.2 * 86400)
    await authorities.tick()
    assert authorities.signing().authority.not_after > clock.now() + 9 * DAY


async def test_when_the_next_one_is_due_can_be_asked(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    active = authorities.signing().authority
    due = authorities.timetable(active)
    assert due is not None
    assert due.deadline == active.not_after - 12 * HOUR
    assert authorities.timetable(await prepared(authorities)) is None
    assert spki_der((await authorities.signer(active)).public_key) == active.public_key
