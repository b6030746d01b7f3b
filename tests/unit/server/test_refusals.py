from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.server.events import Events
from sds.server.refusals import ALTOGETHER, PER_SOURCE, Refusal, RefusalLog
from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.clock import FakeClock


class Sink:
    def __init__(self) -> None:
        self.batches: list[list[AuditEvent]] = []
        self.counted = 0
        self.down = False

    async def append(self, events: Sequence[AuditEvent]) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable(Reason.LOCKED)
        self.batches.append(list(events))

    def refused(self, action: str) -> None:
        self.counted += 1

    @property
    def events(self) -> list[AuditEvent]:
        return [event for batch in self.batches for event in batch]


def make(clock: FakeClock, events: Events) -> tuple[RefusalLog, Sink]:
    sink = Sink()
    return RefusalLog(sink.append, sink, clock, events), sink


def refusal(address: str = "192.0.2.1", action: str = "agent.attest") -> Refusal:
    actor = Actor(ActorKind.AGENT, "", address)
    return Refusal(action, actor, Target("agent", ""), "wrong token", "r1", {"type": "join_token"})


async def test_a_refusal_is_durable_when_it_has_been_noted(clock: FakeClock, events: Events) -> None:
    log, sink = make(clock, events)
    await log.note(refusal())
    (event,) = sink.events
    assert (event.action, event.outcome, event.reason) == ("agent.attest", Outcome.REFUSED, "wrong token")
    assert (event.actor.address, event.request_id, event.node) == ("192.0.2.1", "r1", "test-host")


async def test_a_source_that_goes_on_is_summed_up(clock: FakeClock, events: Events) -> None:
    log, sink = make(clock, events)
    for _ in range(500):
        await log.note(refusal())
    await log.note(refusal("192.0.2.2"))
    assert sink.counted == 501
    assert len(sink.events) == PER_SOURCE.burst + 1
    await log.flush()
    await log.flush()
    last = sink.events[-1]
    assert len(sink.events) == PER_SOURCE.burst + 2
    assert last.details == {"type": "join_token", "repeats": 500 - PER_SOURCE.burst}
    assert last.request_id == ""
    clock.advance(1 / PER_SOURCE.per_second)
    await log.note(refusal())
    assert len(sink.events) == PER_SOURCE.burst + 3


async def test_many_sources_together_are_bounded_in_events_and_memory(clock: FakeClock, events: Events) -> None:
    log, sink = make(clock, events)
    for number in range(3000):
        await log.note(refusal(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"))
    assert len(sink.events) == ALTOGETHER.burst
    assert len(log._sums) == 1024
    await log.flush()
    assert len(sink.events) == ALTOGETHER.burst + 1024


async def test_neighbours_in_one_ipv6_site_are_one_source(clock: FakeClock, events: Events) -> None:
    log, sink = make(clock, events)
    for number in range(100):
        await log.note(refusal(f"2001:db8::{number:x}"))
    assert len(sink.events) == PER_SOURCE.burst


async def test_refusals_at_the_same_time_share_a_transaction(clock: FakeClock, events: Events) -> None:
    log, sink = make(clock, events)
    await asyncio.gather(*(log.note(refusal(f"192.0.2.{n}")) for n in range(50)))
    assert len(sink.events) == 50
    assert len(sink.batches) < 5


async def test_a_database_that_is_down_changes_no_refusal(clock: FakeClock, events: Events) -> None:
    log, sink = make(clock, events)
    sink.down = True
    await log.note(refusal())
    await log.close()
    assert (sink.events, sink.counted) == ([], 1)
