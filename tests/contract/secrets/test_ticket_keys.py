"""Session-ticket keys over a real database, on one replica and on several."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from itertools import pairwise

import pytest

from attestation.spiffe_id import SpiffeId
from ca.errors import KeyUnwrapFailed
from ca.kek import KeyRing
from sds.secrets.errors import SecretUnavailable
from sds.secrets.secret import SecretValue
from sds.server.events import Events
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.tickets import TicketKeys
from sds.store.store import Store
from tests.contract.secrets.embedded import TD, new_ring
from tests.fakes.clock import FakeClock

WEB = SpiffeId.parse("spiffe://example.org/web")
EVERY = timedelta(hours=12)


class Replica:
    def __init__(self, store: Store, clock: FakeClock, ring: KeyRing) -> None:
        sealer = Sealer(lambda: ring, TD, os.urandom)
        self.keys = TicketKeys(store, sealer, Events("test"), clock, EVERY, os.urandom)
        self.changes = 0
        self.keys.on_change(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def get(self) -> list[bytes]:
        return plain(await self.keys.keys_for(WEB))


def plain(value: SecretValue) -> list[bytes]:
    return [key.reveal() for _, key in value.fields]


async def test_replicas_that_start_at_once_have_the_same_keys(store: Store, clock: FakeClock) -> None:
    ring = new_ring()
    replicas = [Replica(store, clock, ring) for _ in range(4)]
    answers = await asyncio.gather(*(one.get() for one in replicas))
    assert len(answers[0]) == 2
    assert all(answer == answers[0] for answer in answers)
    events = await store.read(lambda uow: uow.audit.tail(0))
    assert [one.event.action for one in events] == ["tickets.rotate"]


async def test_a_key_is_with_everybody_before_it_encrypts_and_ends_after_its_successor(
    store: Store, clock: FakeClock
) -> None:
    ring = new_ring()
    one, other = Replica(store, clock, ring), Replica(store, clock, ring)
    seen = [await one.get()]
    assert await other.get() == seen[0]
    for _ in range(4):
        clock.advance(EVERY.total_seconds())
        await asyncio.gather(one.keys.tick(), other.keys.tick())
        await other.keys.refresh()
        await one.keys.refresh()
        seen.append(await one.get())
        assert await other.get() == seen[-1]
    for before, after in pairwise(seen):
        assert after[0] == before[1], "what encrypts now only decrypted before"
        assert after[2] == before[0], "what encrypted before still decrypts"
        assert after[1] not in before
    assert not set(seen[0]) & set(seen[-1])
    events = [one.event for one in await store.read(lambda uow: uow.audit.tail(0))]
    assert len(events) == 5
    assert one.changes == 5


async def test_masters_of_past_epochs_are_nowhere_any_more(store: Store, clock: FakeClock) -> None:
    one = Replica(store, clock, new_ring())
    await one.get()
    first = await store.read(lambda uow: uow.ticket_masters.all())
    for _ in range(3):
        clock.advance(EVERY.total_seconds())
        await one.keys.tick()
    standing = await store.read(lambda uow: uow.ticket_masters.all())
    assert len(standing) == 3
    assert not {master.key.ciphertext for master in first} & {master.key.ciphertext for master in standing}
    assert sorted(one.keys._masters) == [master.epoch for master in standing], "and not in memory either"


async def test_nothing_is_rotated_early_and_what_was_missed_is_one_turn(store: Store, clock: FakeClock) -> None:
    one = Replica(store, clock, new_ring())
    first = await one.get()
    clock.advance(EVERY.total_seconds() - 1)
    await one.keys.tick()
    assert await one.get() == first
    clock.advance(100 * EVERY.total_seconds())
    await one.keys.tick()
    await one.keys.tick()
    assert [master.epoch for master in await store.read(lambda uow: uow.ticket_masters.all())] == [1, 2, 3]


async def test_masters_open_under_our_key_encryption_key_alone(store: Store, clock: FakeClock) -> None:
    await Replica(store, clock, new_ring()).get()
    stranger = Replica(store, clock, new_ring())
    with pytest.raises(SecretUnavailable):
        await stranger.get()
    with pytest.raises(KeyUnwrapFailed):
        await stranger.keys.refresh()
