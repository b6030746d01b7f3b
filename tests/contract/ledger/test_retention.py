"""Events go by age, with a signed statement; what is left verifies, and nothing goes that a sink still needs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from sds.audit.checkpoint import parse_pruning
from sds.audit.judge import ProblemKind
from sds.audit.note import parse_vkey
from sds.audit.verify import ExportVerifier
from sds.server.audit.pruner import Pruner
from sds.server.audit.reader import LedgerReader
from sds.server.audit.verifier import DatabaseVerifier
from sds.server.events import system_actor
from sds.store.errors import Reason, StoreUnavailable
from sds.store.records import AuditFilter
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.ledger.conftest import EVENTS, Log
from tests.contract.store.samples import event
from tests.fakes.clock import FakeClock

DAY = timedelta(days=1)


async def aged(log: Log) -> None:
    """600 events of a minute each, and now."""
    start = log.clock.now()
    for number in range(6):
        times = [start + timedelta(minutes=100 * number + minute) for minute in range(100)]
        await log.store.write(lambda uow, times=times: uow.audit.append_all(event(time=time) for time in times))
        await log.sequencer.drain()
    log.clock.advance(600 * 60)


def pruner(log: Log, **more) -> Pruner:
    return Pruner(log.store, log.keys, EVENTS, log.clock, **more)


async def exported(store: Store) -> ExportVerifier:
    verifier = ExportVerifier()
    pieces = await LedgerReader(store).export("jsonl", AuditFilter())
    content = b"".join([piece async for piece in pieces])
    for line in content.splitlines():
        verifier.feed(line)
    return verifier


async def test_what_is_old_goes_and_the_rest_verifies(log: Log) -> None:
    await aged(log)
    remembered = [one.note for one in await log.store.read(lambda uow: uow.audit_tree.checkpoints())]
    before = log.clock.now() - timedelta(minutes=310)
    plan = await pruner(log).plan(before)
    assert (plan.first, plan.held_by) == (0, "")
    done, statement = await pruner(log).prune(before, system_actor(), "r-1")
    assert done == plan
    await log.sequencer.drain()
    kept = await log.store.read(lambda uow: uow.audit.tail(0, 1000))
    assert all(one.event.time >= before for one in kept if one.event.action == "test.change")
    assert kept[-1].event.action == "audit.prune"
    assert kept[-1].event.details["events"] == plan.events
    (key,) = await log.keys.all()
    assert parse_pruning(statement, [parse_vkey(key.verifier)]).size == plan.size
    verdict = await DatabaseVerifier(log.store, log.keys).verify(remembered)
    assert verdict.ok, verdict.findings.problems
    assert verdict.events == verdict.size - plan.events
    assert (await exported(log.store)).verdict().ok
    # Once more, later: statements add up.
    log.clock.advance(60 * 60)
    await pruner(log).prune(log.clock.now() - timedelta(minutes=310), system_actor(), "r-2")
    await log.sequencer.drain()
    assert (await DatabaseVerifier(log.store, log.keys).verify(remembered)).ok
    assert len(await log.store.read(lambda uow: uow.audit_tree.prunings())) == 2


async def test_the_last_event_stays(log: Log) -> None:
    await aged(log)
    await pruner(log).prune(log.clock.now() + DAY, system_actor(), "")
    await log.sequencer.drain()
    head = await log.store.read(lambda uow: uow.audit_tree.head())
    assert (await DatabaseVerifier(log.store, log.keys).verify()).ok
    assert await log.grow(3) == head.size + 3
    assert (await DatabaseVerifier(log.store, log.keys).verify()).ok


async def test_nothing_to_do(log: Log) -> None:
    await log.grow(3)
    plan, statement = await pruner(log).prune(log.clock.now() - DAY, system_actor(), "")
    assert (plan.events, statement) == (0, "")
    assert await log.store.read(lambda uow: uow.audit_tree.prunings()) == ()


async def test_what_a_sink_lacks_is_kept(log: Log) -> None:
    await aged(log)
    until = log.clock.now() + DAY

    def deliver(uow: UnitOfWork) -> None:
        uow.cursors.claim("siem", "me", until)
        uow.cursors.advance("siem", "me", until, 57, 0)

    await log.store.write(deliver)
    plan = await pruner(log, sinks=["siem"]).plan(log.clock.now())
    assert (plan.size, bool(plan.held_by)) == (57, True)
    assert (await pruner(log, sinks=["siem", "new"]).plan(log.clock.now())).size == 0
    done, _ = await pruner(log, sinks=["siem"]).prune(log.clock.now(), system_actor(), "")
    assert done.size == 57


async def test_by_the_configuration(log: Log) -> None:
    await aged(log)
    await pruner(log, kept=timedelta(minutes=200)).tick()
    assert await log.store.read(lambda uow: uow.audit_tree.pruned()) > 300
    await pruner(log).tick()
    assert (await DatabaseVerifier(log.store, log.keys).verify()).size > 0


async def test_a_process_that_dies_between(log: Log) -> None:
    """What is stated to be gone and is still there is deleted by the next, and verification does not mind."""
    await aged(log)

    class Dying:
        def __init__(self, store: Store) -> None:
            self._store = store
            self.left = 2

        async def read(self, work):
            return await self._store.read(work)

        async def write(self, work):
            self.left -= 1
            if self.left < 0:
                raise StoreUnavailable(Reason.LOST)
            return await self._store.write(work)

    dying = Pruner(Dying(log.store), log.keys, EVENTS, log.clock, piece=100)
    with pytest.raises(StoreUnavailable):
        await dying.prune(log.clock.now() - timedelta(minutes=200), system_actor(), "")
    pruned = await log.store.read(lambda uow: uow.audit_tree.pruned())
    left = await log.store.read(lambda uow: len(uow.audit_lines.judged(0, pruned, 1000)))
    assert left == pruned - 100
    await log.sequencer.drain()
    assert (await DatabaseVerifier(log.store, log.keys).verify()).ok
    await pruner(log).tick()
    assert await log.store.read(lambda uow: uow.audit_lines.judged(0, pruned, 1000)) == ()
    assert (await DatabaseVerifier(log.store, log.keys).verify()).ok


async def test_a_replica_that_cannot_only_says_so(log: Log, clock: FakeClock) -> None:
    await aged(log)

    class Away:
        async def write(self, work):
            raise StoreUnavailable(Reason.LOST)

        read = write

    with capture_logs() as said:
        await Pruner(Away(), log.keys, EVENTS, clock, kept=DAY).tick()
    assert [(line["log_level"], line["event"]) for line in said] == [
        ("warning", "retention of the audit log could not be done")
    ]


async def test_an_event_that_is_deleted_beyond_the_statement_is_named(log: Log, database_url: str) -> None:
    from tests.contract.ledger.test_tampering import raw  # noqa: PLC0415

    await aged(log)
    plan, _ = await pruner(log).prune(log.clock.now() - timedelta(minutes=200), system_actor(), "")
    await log.sequencer.drain()
    raw(database_url)(f"DELETE FROM audit_events WHERE seq = {plan.size + 1}")
    found = await DatabaseVerifier(log.store, log.keys).verify()
    assert [(one.kind, one.leaf) for one in found.findings.problems] == [(ProblemKind.MISSING, plan.size)]
