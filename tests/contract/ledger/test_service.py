"""What the admin API says of the tree, over each database: every proof is verified by who asked."""

from __future__ import annotations

import asyncio
import csv
from datetime import timedelta

import pytest

from sds.admin.errors import InvalidInput, ProofUnavailable, TooManyRequests
from sds.admin.services import AdminCall, local_caller
from sds.admin.services.ledger import ExportQuery
from sds.audit.checkpoint import parse_checkpoint
from sds.audit.event import Actor, ActorKind
from sds.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from sds.audit.note import parse_vkey
from sds.audit.verify import ExportVerifier
from sds.server.audit.pruner import Pruner
from sds.server.services.common import Desk
from sds.server.services.ledger import LedgerService
from sds.store.errors import NotFound
from tests.contract.ledger.conftest import EVENTS, Log
from tests.contract.ledger.test_tampering import raw
from tests.contract.store.samples import event

CALL = AdminCall(local_caller(1000, 7, "op"), "r-7")


async def _settled(_: float) -> bool:
    return True


@pytest.fixture
def service(log: Log) -> LedgerService:
    desk = Desk(log.store, EVENTS, _settled)
    return LedgerService(desk, log.keys, Pruner(log.store, log.keys, EVENTS, log.clock), log.clock)


async def content(service: LedgerService, query: ExportQuery) -> bytes:
    return b"".join([piece async for piece in await service.export(query)])


async def test_proofs(log: Log, service: LedgerService) -> None:
    for _ in range(4):
        await log.grow(99)
    (key,) = [parse_vkey(each.verifier) for each in await service.keys()]
    newest = await service.checkpoint(None)
    root = parse_checkpoint(newest.note, [key]).root
    for sequence in (1, 100, 256, 257, newest.size):
        detail, proof = await service.event(sequence), await service.inclusion(sequence)
        assert (detail.leaf, proof.leaf, proof.note) == (sequence - 1, sequence - 1, newest.note)
        hashed = leaf_hash(detail.canonical.encode())
        assert hashed == detail.leaf_hash
        assert verify_inclusion(proof.leaf, proof.size, hashed, proof.path, root)
    for older in await service.checkpoints(None, 10):
        proof = await service.consistency(older.size, newest.size)
        assert verify_consistency(older.size, newest.size, older.root, root, proof.path)
    assert [one.size for one in await service.checkpoints(newest.size, 1)] == [newest.size - 99]
    assert (await service.checkpoint(newest.size)) == newest


async def test_what_cannot_be_proved(log: Log, service: LedgerService, database_url: str) -> None:
    with pytest.raises(NotFound):
        await service.checkpoint(None)
    await log.append()
    assert (await service.event(1)).leaf is None
    with pytest.raises(ProofUnavailable, match="a second"):
        await service.inclusion(1)
    await log.grow(300)
    for ask in (service.event(999), service.inclusion(999), service.consistency(0, 5), service.consistency(5, 999)):
        with pytest.raises(NotFound):
            await ask
    raw(database_url)("DELETE FROM audit_tiles WHERE level = 0 AND tile = 0")
    with pytest.raises(ProofUnavailable, match="lacks hashes"):
        await service.inclusion(1)


async def test_exports(log: Log, service: LedgerService) -> None:
    sly = event("test.sly", actor=Actor(ActorKind.ADMIN, "=cmd()|x", ""), reason='"; \n', time=log.clock.now())
    await log.store.write(lambda uow: uow.audit.append(sly))
    await log.grow(2100)
    await log.append(3)  # under no checkpoint yet, so not in it
    verifier = ExportVerifier()
    for line in (await content(service, ExportQuery())).splitlines():
        verifier.feed(line)
    verdict = verifier.verdict()
    assert verdict.ok, verdict.findings.problems
    assert verdict.events == 2103
    filtered = (await content(service, ExportQuery(action="test.sly"))).splitlines()
    assert len(filtered) == 2
    rows = list(csv.DictReader((await content(service, ExportQuery("csv"))).decode().splitlines()))
    assert len(rows) >= 2103
    assert rows[0]["actor"] == "'=cmd()|x"
    assert rows[0]["leaf"] == "0"
    assert rows[0]["action"] == "test.sly"
    later = log.clock.now() + timedelta(days=1)
    assert len((await content(service, ExportQuery(since=later))).splitlines()) == 1


async def test_an_export_of_nothing(service: LedgerService) -> None:
    assert len((await content(service, ExportQuery())).splitlines()) == 1
    assert len((await content(service, ExportQuery("csv"))).splitlines()) == 1


async def test_verifying_is_an_event_itself(log: Log, service: LedgerService, database_url: str) -> None:
    await log.grow(5)
    assert (await service.verify(CALL, [])).ok
    raw(database_url)("DELETE FROM audit_events WHERE seq = 2")
    assert not (await service.verify(CALL, ["no note"])).ok
    good, bad = [one.event for one in await log.store.read(lambda uow: uow.audit.tail(None, 2))]
    assert (good.action, good.outcome, good.request_id) == ("audit.verify", "success", "r-7")
    assert bad.outcome == "failure"
    assert bad.details["first_problems"] == ["checkpoint leaf=None sequence=None", "missing leaf=1 sequence=2"]


async def test_one_verification_at_a_time(log: Log, service: LedgerService) -> None:
    await log.grow(300)
    answers = await asyncio.gather(service.verify(CALL, []), service.verify(CALL, []), return_exceptions=True)
    assert sum(isinstance(each, TooManyRequests) for each in answers) == 1


async def test_pruning_by_hand(log: Log, service: LedgerService) -> None:
    await log.grow(5)
    with pytest.raises(InvalidInput):
        await service.prune(CALL, log.clock.now() + timedelta(seconds=1), dry_run=True)
    log.clock.advance(60)
    dry = await service.prune(CALL, log.clock.now(), dry_run=True)
    assert (dry.dry_run, dry.statement) == (True, "")
    assert dry.events > 0
    assert await log.store.read(lambda uow: uow.audit_tree.pruned()) == 0
    done = await service.prune(CALL, log.clock.now(), dry_run=False)
    assert (done.events, done.size) == (dry.events, dry.size)
    (row,) = [one.event for one in await log.store.read(lambda uow: uow.audit.tail(None, 1))]
    assert (row.action, row.actor.id, row.request_id) == ("audit.prune", "uid:1000", "r-7")


async def test_another_key(log: Log, service: LedgerService) -> None:
    await log.grow(1)
    made = await service.rotate_key(CALL)
    assert made.number == 2
    assert made.endorsement
    (row,) = [
        one.event
        for one in await log.store.read(lambda uow: uow.audit.tail(None))
        if one.event.action == "audit.key.create" and one.event.request_id == "r-7"
    ]
    assert row.details["verifier"] == made.verifier
