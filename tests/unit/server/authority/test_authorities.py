from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import pytest

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable, CaError
from ca.kek import Kek, KeyRing
from ca.key_managers.wrapped import WrappedKeyManager
from ca.masked import Masked
from sds.server.authority.authorities import Authorities, soon_expired
from sds.server.authority.custody import KeyStore
from sds.server.events import Events
from sds.store.store import Store
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.key_manager import UNPLUGGED, FakeKeyManager
from tests.fakes.rotation import ASKED, JWT_LIFE, TD, X509_LIFE, Watching, make_authorities
from tests.unit.server.authority.kit import ACTIVE, DAY, JWT, OLD, PREPARED, X509, log, states, straggle

RING = KeyRing(Kek.of(Masked(b"k" * 32)))


def make(store: Store, clock: FakeClock, events: Events, *, trust_domain: TrustDomain = TD) -> Authorities:
    manager = WrappedKeyManager(KeyStore(store, events), RING, trust_domain, os.urandom)
    return make_authorities(store, manager, events, clock, trust_domain=trust_domain)


# Start


async def test_the_first_start_makes_one_of_each_kind_and_later_ones_find_them(
    store: Store, clock: FakeClock, events: Events
) -> None:
    first = make(store, clock, events)
    with pytest.raises(AuthorityUnavailable, match="no active x509 authority"):
        first.signing()
    with pytest.raises(AuthorityUnavailable, match="no active jwt authority"):
        first.signing_jwt()
    await first.ensure()
    again = make(store, clock, events)
    await again.ensure()
    assert again.signing().authority == first.signing().authority
    assert again.signing().signer.public_key == first.signing().signer.public_key
    assert again.signing_jwt().authority == first.signing_jwt().authority
    assert again.signing_jwt().authority.not_after == EPOCH + JWT_LIFE
    assert set(again.all()) == {again.signing().authority, again.signing_jwt().authority}
    assert again.slots(JWT) == (again.signing_jwt().authority,)
    actions = [event.action for event in await log(store, "")]
    assert actions == ["key.create", "authority.prepare", "authority.activate"] * 2


async def test_replicas_that_start_together_agree_and_leave_no_key_behind(
    store: Store, clock: FakeClock, events: Events
) -> None:
    replicas = [make(store, clock, events) for _ in range(5)]
    await asyncio.gather(*(replica.ensure() for replica in replicas))
    assert len({replica.signing().authority.id for replica in replicas}) == 1
    assert len({replica.signing_jwt().authority.id for replica in replicas}) == 1
    assert len(await store.read(lambda uow: uow.authorities.all())) == 2
    assert [event.action for event in await log(store)].count("authority.prepare") == 2
    kept = await store.read(lambda uow: uow.keys.all())
    assert {f"wrapped:{key.label.key_id}" for key in kept} == {one.key_ref for one in replicas[0].all()}


async def test_an_expired_one_says_so_and_is_replaced(
    store: Store, clock: FakeClock, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    authorities = make(store, clock, events)
    await authorities.ensure()
    old = authorities.signing().authority
    clock.advance(X509_LIFE.total_seconds() + 1)
    with pytest.raises(AuthorityUnavailable, match=f"{old.id} is valid only from 2025-12-31T23:59:50Z to 2026-01-11"):
        authorities.signing()

    restarted = make(store, clock, events)
    await restarted.ensure()
    new = restarted.signing().authority
    assert new.id != old.id
    said = capsys.readouterr()
    assert "new tokens" in said.out + said.err
    assert [one.state for one in restarted.slots(X509)] == [OLD, ACTIVE]
    event = next(event for event in await log(store) if event.details.get("replaces") == old.id)
    assert event.reason == "the active one has expired"
    # The one that never noticed catches up by itself.
    await authorities.tick()
    await authorities.refresh()
    assert authorities.signing().authority.id == new.id


async def test_a_database_of_another_trust_domain_is_refused_and_left_alone(
    store: Store, clock: FakeClock, events: Events
) -> None:
    await make(store, clock, events).ensure()
    before = await store.read(lambda uow: uow.authorities.journal())
    with pytest.raises(AuthorityUnavailable, match=r"belongs to the trust domain example\.org"):
        await make(store, clock, events, trust_domain=TrustDomain("other.org")).ensure()
    assert await store.read(lambda uow: uow.authorities.journal()) == before


async def test_a_key_that_does_not_open_is_told_again_and_again(store: Store, clock: FakeClock, events: Events) -> None:
    await make(store, clock, events).ensure()
    wrong = WrappedKeyManager(KeyStore(store, events), KeyRing(Kek.of(Masked(b"x" * 32))), TD, os.urandom)
    broken = make_authorities(store, wrong, events, clock)
    with pytest.raises(CaError, match="key file lacks"):
        await broken.ensure()
    for ask in (broken.signing, broken.signing_jwt):
        with pytest.raises(AuthorityUnavailable, match="key file lacks"):
            ask()


async def test_what_expires_soon_is_warned_of(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make(store, clock, events)
    await authorities.ensure()

    def soon(days: float) -> int:
        now = EPOCH + timedelta(days=days)
        return len(soon_expired(authorities.slots(X509), now, timedelta(days=30), 6))

    assert [soon(0), soon(8), soon(8.5)] == [0, 0, 1]


# The schedule


async def test_a_generation_goes_by_and_each_step_has_its_event(store: Store, clock: FakeClock, events: Events) -> None:
    seen = Watching()
    authorities = make_authorities(store, FakeKeyManager(), events, clock, observer=seen)
    await authorities.ensure()
    first = authorities.signing().authority
    await straggle(store, events, sequence=2)
    clock.advance(5 * 86400)
    await authorities.tick()
    prepared = authorities.slots(X509)[-1]
    assert (prepared.state, prepared.published_sequence, prepared.created_at) == (PREPARED, 3, clock.now())
    assert seen.gates["x509"] == (1, 0)
    clock.advance(3.5 * 86400)  # past 5/6, and nobody has it
    await authorities.tick()
    assert authorities.signing().authority.id == first.id
    await straggle(store, events, sequence=3)
    await authorities.tick()
    active = authorities.signing().authority
    assert (active.id, active.activated_at) == (prepared.id, clock.now())
    assert (await store.read(lambda uow: uow.authorities.get(first.id))).retired_at == clock.now()
    event = (await log(store))[-1]
    gate = event.details["gate"]
    assert isinstance(gate, dict)
    assert (event.action, gate["total"], gate["acked"], gate["open"]) == ("authority.activate", 1, 1, True)
    # Nothing was issued, so the old one goes after the leeway; and only if it is due at two looks.
    clock.advance(61)
    await authorities.tick()
    assert await states(store) == [OLD, ACTIVE]
    await authorities.tick()
    assert await states(store) == [ACTIVE]
    assert [one.id for one in authorities.slots(X509)] == [active.id]
    assert (await log(store))[-1].action == "authority.drop"
    assert seen.steps["x509", "drop", "success"] == 1


async def test_at_the_deadline_the_stragglers_are_named_and_recorded(
    store: Store, clock: FakeClock, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    await straggle(store, events, sequence=2)
    clock.advance(5 * 86400)
    await authorities.tick()
    prepared = authorities.slots(X509)[-1]
    clock.advance(4.5 * 86400)
    await authorities.tick()
    assert authorities.signing().authority.id != prepared.id  # due, for the first time
    await authorities.tick()
    assert authorities.signing().authority.id == prepared.id
    event = (await log(store))[-1]
    gate = event.details["gate"]
    assert isinstance(gate, dict)
    assert (event.details["past_deadline"], event.details["forced"], gate["stragglers_total"]) == (True, False, 1)
    (named,) = gate["stragglers"]  # type: ignore[misc]
    assert named["agent_id"] == "spiffe://example.org/sds/agent/n1"  # type: ignore[index, call-overload]
    said = capsys.readouterr()
    assert "some do not know it yet" in said.out + said.err


async def test_a_clock_that_jumps_ahead_for_a_moment_drops_nothing_and_cuts_nobody_off(
    store: Store, clock: FakeClock, events: Events
) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock)
    await authorities.ensure()
    await straggle(store, events, sequence=2)
    clock.advance(5 * 86400)
    await authorities.tick()
    clock.jump(4.6 * 86400)  # past the deadline
    await authorities.tick()
    clock.jump(-4.6 * 86400)
    await authorities.tick()
    await authorities.tick()
    assert await states(store) == [ACTIVE, PREPARED]


async def test_the_schedule_goes_by_the_kind(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make_authorities(store, FakeKeyManager(), events, clock, life=100 * DAY)
    await authorities.ensure()
    key = authorities.signing_jwt().authority
    clock.advance(JWT_LIFE.total_seconds() / 2)
    await authorities.tick()
    assert [one.state for one in authorities.slots(JWT)] == [ACTIVE, PREPARED]
    clock.advance(JWT_LIFE.total_seconds() / 3)
    await authorities.tick()
    assert authorities.signing_jwt().authority.id != key.id
    clock.advance(3600 + 61)
    await authorities.tick()
    await authorities.tick()
    assert [one.state for one in authorities.slots(JWT)] == [ACTIVE]


# Loss of keys


async def test_while_keys_are_lost_what_stands_signs_on_and_the_rest_follows_by_itself(
    store: Store, clock: FakeClock, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    token, seen = FakeKeyManager(), Watching()
    authorities = make_authorities(store, token, events, clock, observer=seen)
    await authorities.ensure()
    clock.advance(5 * 86400)
    token.unplugged = True
    for _ in range(3):
        await authorities.tick()
    assert await states(store) == [ACTIVE]
    assert seen.problems == {"x509": True, "jwt": False}
    said = capsys.readouterr()
    assert (said.out + said.err).count("cannot go on") == 1
    assert UNPLUGGED in said.out + said.err
    token.unplugged = False
    await authorities.tick()
    assert await states(store) == [ACTIVE, PREPARED]
    assert seen.problems["x509"] is False
    said = capsys.readouterr()
    assert "goes on" in said.out + said.err


async def test_an_authority_whose_key_is_lost_is_not_activated(store: Store, clock: FakeClock, events: Events) -> None:
    token = FakeKeyManager()
    authorities = make_authorities(store, token, events, clock)
    await authorities.ensure()
    following = await authorities.prepare(X509, ASKED)
    kept = token.keys.pop(following.key_ref)
    for force in (False, True):
        with pytest.raises(AuthorityUnavailable, match="there is no key"):
            await authorities.activate(following.id, ASKED, force=force)
    token.keys[following.key_ref] = kept
    assert (await authorities.activate(following.id, ASKED)).state is ACTIVE


async def test_only_the_kind_whose_key_is_lost_stops(store: Store, clock: FakeClock, events: Events) -> None:
    token = FakeKeyManager()
    await make_authorities(store, token, events, clock).ensure()
    lost = (await store.read(lambda uow: uow.authorities.all(JWT)))[0]
    kept = token.keys.pop(lost.key_ref)
    restarted = make_authorities(store, token, events, clock)
    with pytest.raises(AuthorityUnavailable, match="there is no key"):
        await restarted.refresh()
    assert restarted.signing().authority.kind is X509
    with pytest.raises(AuthorityUnavailable, match="there is no key"):
        restarted.signing_jwt()
    token.keys[lost.key_ref] = kept
    await restarted.tick()
    assert restarted.signing_jwt().authority.id == lost.id
