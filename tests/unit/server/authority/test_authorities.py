from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import pytest

from attestation.spiffe_id import TrustDomain
from ca.authority import AuthorityState
from ca.errors import AuthorityUnavailable
from ca.kek import Kek, KeyRing
from ca.key_managers.wrapped import WrappedKeyManager
from ca.keys import KeyType
from ca.masked import Masked
from ca.serial import random_serial
from sds.server.authority.authorities import Authorities, AuthorityPolicy, soon_expired
from sds.server.authority.custody import KeyStore
from sds.server.events import Events
from sds.store.store import Store
from tests.fakes.clock import EPOCH, FakeClock

TD = TrustDomain("example.org")
RING = KeyRing(Kek.of(Masked(b"k" * 32)))


def make(store: Store, clock: FakeClock, events: Events, *, trust_domain: TrustDomain = TD) -> Authorities:
    manager = WrappedKeyManager(KeyStore(store, events), RING, trust_domain, os.urandom)
    policy = AuthorityPolicy(trust_domain, KeyType.ECDSA_P256, timedelta(days=10), timedelta(seconds=10))
    return Authorities(store, manager, policy, lambda: random_serial(os.urandom), events, clock)


async def test_the_first_start_makes_one_and_later_ones_find_it(store: Store, clock: FakeClock, events: Events) -> None:
    first = make(store, clock, events)
    with pytest.raises(AuthorityUnavailable, match="no active authority"):
        first.signing()
    await first.ensure()
    again = make(store, clock, events)
    await again.ensure()
    assert again.signing().authority == first.signing().authority
    assert again.signing().signer.public_key == first.signing().signer.public_key
    actions = [stored.event.action for stored in await store.read(lambda uow: uow.audit.tail(None))]
    assert actions == ["key.create", "authority.create"]


async def test_replicas_that_start_together_agree_on_one(store: Store, clock: FakeClock, events: Events) -> None:
    replicas = [make(store, clock, events) for _ in range(5)]
    await asyncio.gather(*(replica.ensure() for replica in replicas))
    assert len({replica.signing().authority.id for replica in replicas}) == 1
    assert len(await store.read(lambda uow: uow.authorities.all())) == 1
    created = [s.event for s in await store.read(lambda uow: uow.audit.tail(None)) if "authority" in s.event.action]
    assert len(created) == 1


async def test_an_expired_one_says_so_and_is_replaced(
    store: Store, clock: FakeClock, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    authorities = make(store, clock, events)
    await authorities.ensure()
    old = authorities.signing().authority
    clock.advance(10 * 86400 + 1)
    with pytest.raises(AuthorityUnavailable, match=f"{old.id} is valid only from 2025-12-31T23:59:50Z to 2026-01-11"):
        authorities.signing()

    restarted = make(store, clock, events)
    await restarted.ensure()
    new = restarted.signing().authority
    assert new.id != old.id
    said = capsys.readouterr()
    assert "has expired" in said.out + said.err
    states = {one.id: one.state for one in restarted.all()}
    assert states == {old.id: AuthorityState.OLD, new.id: AuthorityState.ACTIVE}
    event = (await store.read(lambda uow: uow.audit.tail(None)))[-1].event
    assert event.details["replaces"] == old.id
    # The one that never noticed catches up by itself.
    await authorities.ensure()
    assert authorities.signing().authority.id == new.id


async def test_a_database_of_another_trust_domain_is_refused(store: Store, clock: FakeClock, events: Events) -> None:
    await make(store, clock, events).ensure()
    with pytest.raises(AuthorityUnavailable, match=r"belongs to the trust domain example\.org"):
        await make(store, clock, events, trust_domain=TrustDomain("other.org")).ensure()


async def test_a_key_that_does_not_open_is_told_again_and_again(store: Store, clock: FakeClock, events: Events) -> None:
    await make(store, clock, events).ensure()
    broken = make(store, clock, events)
    broken._keys = WrappedKeyManager(KeyStore(store, events), KeyRing(Kek.of(Masked(b"x" * 32))), TD, os.urandom)
    with pytest.raises(Exception, match="key file lacks"):
        await broken.ensure()
    with pytest.raises(AuthorityUnavailable, match="key file lacks"):
        broken.signing()


async def test_what_expires_soon_is_warned_of(store: Store, clock: FakeClock, events: Events) -> None:
    authorities = make(store, clock, events)
    await authorities.ensure()

    def soon(days: float) -> int:
        now = EPOCH + timedelta(days=days)
        return len(soon_expired(authorities.all(), now, timedelta(days=30), 6))

    assert [soon(0), soon(8), soon(8.5)] == [0, 0, 1]
