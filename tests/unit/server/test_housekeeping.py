from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority
from sds.audit.event import AuditEvent, Target
from sds.metrics import ServerMetrics
from sds.server.events import Events, system_actor
from sds.server.follower import Bundles, load_facts
from sds.server.housekeeping import CHANGES_KEPT, STREAMS_KEPT, TOKENS_KEPT, Housekeeping, LastSeen
from sds.server.identity import AgentCaller
from sds.server.refusals import RefusalLog
from sds.server.registry import Registry
from sds.store.errors import NotFound, Reason, StoreUnavailable, TokenRefused
from sds.store.records import NO_PROCESS, AgentRecord, StreamRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.ca import TRUST_DOMAIN, make_authority
from tests.fakes.clock import EPOCH, FakeClock

SILENT, LIVELY, GONE = (SpiffeId(TRUST_DOMAIN, f"/sds/agent/{name}") for name in ("silent", "lively", "gone"))


class Authorities:
    """One authority."""

    def __init__(self) -> None:
        self.authority: Authority = make_authority().authority

    async def tick(self) -> None: ...

    def all(self) -> tuple[Authority, ...]:
        return (self.authority,)


class Nobody:
    def refused(self, action: str) -> None: ...


class World:
    def __init__(self, store: Store, events: Events, clock: FakeClock, registry: Registry) -> None:
        async def append(batch: Sequence[AuditEvent]) -> None:
            await store.write(lambda uow: uow.audit.append_all(batch))

        self.store, self.events, self.clock = store, events, clock
        self.collectors = CollectorRegistry()
        self.authorities = Authorities()
        self.seen = LastSeen(clock)
        self.house = Housekeeping(
            store,
            registry,
            self.authorities,  # type: ignore[arg-type]
            RefusalLog(append, Nobody(), clock, events),
            self.seen,
            ServerMetrics(self.collectors),
            clock,
        )

    async def agent(self, agent_id: SpiffeId) -> None:
        def work(uow: UnitOfWork) -> None:
            uow.agents.upsert(AgentRecord(agent_id, "join_token", frozenset(), "aa", EPOCH, "", EPOCH, last_seen=EPOCH))
            uow.audit.append(self.events.make(uow.now, "test", system_actor(), Target("agent", str(agent_id))))

        await self.store.write(work)

    async def stream(self, agent_id: SpiffeId) -> None:
        record = StreamRecord(agent_id, "s1", "sotw", NO_PROCESS, (), "", EPOCH)
        await self.store.write(lambda uow: uow.streams.upsert([record]))

    def call(self, agent_id: SpiffeId) -> None:
        self.seen.note(AgentCaller(agent_id, "aa", EPOCH, EPOCH, 0, "", "", ""))


@pytest.fixture
async def world(store: Store, events: Events, clock: FakeClock) -> World:
    facts = await load_facts(store, Bundles(TRUST_DOMAIN, timedelta(minutes=5)))
    return World(store, events, clock, Registry(facts, now=clock.now()))


async def test_when_agents_were_last_heard_of(world: World) -> None:
    await world.agent(LIVELY)
    world.clock.advance(100)
    world.call(LIVELY)
    world.call(GONE)  # deleted a moment ago
    await world.house.write_last_seen()
    assert (await world.store.read(lambda uow: uow.agents.get(LIVELY))).last_seen == EPOCH + timedelta(seconds=100)
    with pytest.raises(NotFound):
        await world.store.read(lambda uow: uow.agents.get(GONE))


async def test_a_version_is_written_later_if_the_database_fails(world: World) -> None:
    class Down:
        async def write(self, work: object) -> None:
            raise StoreUnavailable(Reason.LOCKED)

    await world.agent(LIVELY)
    world.seen.note_version(AgentCaller(LIVELY, "aa", EPOCH, EPOCH, 0, "", "", ""), "1.2.3")
    with pytest.raises(StoreUnavailable):
        await world.seen.flush(Down())  # type: ignore[arg-type]
    await world.house.write_last_seen()
    assert (await world.store.read(lambda uow: uow.agents.get(LIVELY))).version == "1.2.3"


async def test_streams_of_silent_and_deleted_agents_go(world: World) -> None:
    for agent_id in (SILENT, LIVELY):
        await world.agent(agent_id)
    for agent_id in (SILENT, LIVELY, GONE):
        await world.stream(agent_id)
    world.clock.advance(STREAMS_KEPT.total_seconds() + 1)
    world.call(LIVELY)
    await world.house.write_last_seen()
    await world.house.forget_streams()
    page = await world.store.read(lambda uow: uow.streams.list())
    assert [stream.agent_id for stream in page.items] == [LIVELY]
    await world.house.forget_streams()


async def test_old_changes_and_tokens_go(world: World) -> None:
    def work(uow: UnitOfWork) -> None:
        uow.tokens.create("old", LIVELY, uow.now + timedelta(minutes=1))
        uow.audit.append(world.events.make(uow.now, "test", system_actor(), Target("agent", "")))

    await world.agent(LIVELY)
    await world.store.write(work)
    world.clock.advance(60 + TOKENS_KEPT.total_seconds() - 1)
    assert CHANGES_KEPT < TOKENS_KEPT
    await world.house.prune()
    state = await world.store.feed().state()
    assert state.oldest == state.newest
    with pytest.raises(TokenRefused) as caught:
        await world.store.read(lambda uow: uow.tokens.find("old", uow.now))
    assert caught.value.why == "expired"
    world.clock.advance(2)
    await world.house.prune()
    with pytest.raises(TokenRefused) as caught:
        await world.store.read(lambda uow: uow.tokens.find("old", uow.now))
    assert caught.value.why == "unknown"


async def test_gauges_and_the_authority(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    await world.house.refresh_gauges()
    value = world.collectors.get_sample_value(
        "sds_server_authority_expiry_timestamp_seconds", {"kind": "x509", "state": "active"}
    )
    assert value == world.authorities.authority.not_after.timestamp()
    await world.house.look_at_authorities()
    assert "expires soon" not in capsys.readouterr().out
    world.clock.advance(80 * 86400)
    await world.house.look_at_authorities()
    said = capsys.readouterr()
    assert "expires soon" in said.out + said.err
