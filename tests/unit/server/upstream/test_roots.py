"""Roots in the store: taken in once, audited, and known to be everywhere only when they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority
from ca.rotation import KindPolicy, RotationPolicy
from ca.upstreams.following import Published
from sds.audit.event import AuditEvent, Target
from sds.rotation.ports import Rules
from sds.rotation.steps import Call
from sds.server.events import Events, system_actor
from sds.server.upstream.roots import Roots
from sds.store.records import AgentRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.authorities import install
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import EPOCH, FakeClock
from tests.unit.ca.upstreams.test_following import ABOVE, OURS, R1, R2

DAY = timedelta(days=1)
KIND = KindPolicy(DAY, DAY)
RULES = Rules(RotationPolicy(KIND, KIND), timedelta(seconds=5), Call(system_actor(), ""))
AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/a")


@pytest.fixture
def roots(store: Store, events: Events, clock: FakeClock) -> Roots:
    return Roots(store, events, RULES, clock)


async def standing(store: Store) -> Authority:
    return await store.read(lambda uow: uow.authorities.get(OURS.id))


async def audited(store: Store) -> list[AuditEvent]:
    stored = [one.event for one in await store.read(lambda uow: uow.audit.tail(None))]
    return [one for one in stored if one.action.startswith("authority.") and one.action != "authority.create"]


async def test_a_new_root_is_published_once_and_audited(store: Store, events: Events, roots: Roots) -> None:
    await install(store, events, OURS)
    published = Published("sds", (R1, R2), complete=True)
    assert await roots.follow(Published("sds", (R1,), complete=True)) == 1
    assert await audited(store) == []
    for _ in range(3):
        assert await roots.follow(published) == 2
    assert (await standing(store)).roots == (R1, R2)
    (event,) = await audited(store)
    assert (event.action, event.target) == ("authority.roots", Target("authority", OURS.id))
    assert [len(event.details[name]) for name in ("added", "removed")] == [1, 0]  # type: ignore[arg-type]


async def test_what_is_taken_back_above_is_revoked_and_audited(store: Store, events: Events, roots: Roots) -> None:
    await install(store, events, OURS)
    assert await roots.follow(Published("sds", (R2,), complete=True)) == 0
    assert (await standing(store)).revoked
    assert [event.action for event in await audited(store)] == ["authority.revoke"]


async def test_what_is_tainted_above_is_tainted_and_audited(store: Store, events: Events, roots: Roots) -> None:
    await install(store, events, OURS)
    await roots.follow(Published("sds", (R1,), frozenset({ABOVE.authority.id}), complete=True))
    assert (await standing(store)).tainted
    assert [event.action for event in await audited(store)] == ["authority.taint"]


async def test_nothing_below_the_upstream_means_nothing_to_wait_for(store: Store, events: Events, roots: Roots) -> None:
    await install(store, events, ABOVE.authority)
    assert await roots.follow(Published("sds", (R1, R2), complete=True)) == 0
    assert await roots.everywhere(0)
    assert await audited(store) == []


async def test_roots_are_everywhere_when_all_of_the_fleet_says_so(store: Store, events: Events, roots: Roots) -> None:
    record = AgentRecord(AGENT, "join_token", frozenset(), "0a", EPOCH + DAY, "kk", EPOCH)

    async def change(work: object, action: str = "agent.attest") -> None:
        def audited_work(uow: UnitOfWork) -> None:
            work(uow)  # type: ignore[operator]
            uow.audit.append(events.make(uow.now, action, system_actor(), Target("agent", str(AGENT))))

        await store.write(audited_work)

    assert await roots.everywhere(7)  # there is nobody yet
    await change(lambda uow: uow.agents.upsert(record))
    assert not await roots.everywhere(7)
    for sequence, everywhere in ((6, False), (7, True), (8, True)):
        await change(lambda uow, s=sequence: uow.agents.verifies_by(AGENT, s))
        assert await roots.everywhere(7) is everywhere
    await change(lambda uow: uow.agents.upsert(replace(record, not_after=EPOCH - DAY)))
    await change(lambda uow: uow.agents.verifies_by(AGENT, 1))
    assert await roots.everywhere(7)  # an expired agent verifies nobody
