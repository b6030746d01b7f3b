"""The audit log's tree for administrators: proofs, exports, verification, retention."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from ca.errors import AuthorityUnavailable
from sds.admin.errors import FieldProblem, InvalidInput, ProofUnavailable, TooManyRequests
from sds.admin.services import AdminCall
from sds.admin.services.ledger import (
    CheckpointInfo,
    ConsistencyProof,
    EventDetail,
    ExportQuery,
    InclusionProof,
    KeyInfo,
    PruneReport,
)
from sds.audit.event import Json, Outcome, Target
from sds.audit.merkle import DamagedTree
from sds.audit.verify import Verdict
from sds.clock import Clock
from sds.server.audit.log_keys import LogKeys, LogKeyUnusable
from sds.server.audit.pruner import Pruner
from sds.server.audit.reader import LedgerReader
from sds.server.audit.verifier import DatabaseVerifier
from sds.server.services.common import Desk, actor_of
from sds.store.records import AuditFilter
from sds.store.unit_of_work import UnitOfWork

NAMED = 20
"""Problems that the audit event of a verification names."""


class LedgerService:
    """Implements sds.admin.services.ledger.LedgerAdmin."""

    def __init__(self, desk: Desk, keys: LogKeys, pruner: Pruner, clock: Clock) -> None:
        self._desk = desk
        self._keys = keys
        self._pruner = pruner
        self._clock = clock
        self._reader = LedgerReader(desk.store)
        self._verifier = DatabaseVerifier(desk.store, keys)
        self._verifying = asyncio.Lock()
        self._pruning = asyncio.Lock()

    async def event(self, sequence: int) -> EventDetail:
        return await self._reader.event(sequence)

    async def inclusion(self, sequence: int) -> InclusionProof:
        return await self._reader.inclusion(sequence)

    async def consistency(self, first: int, second: int) -> ConsistencyProof:
        return await self._reader.consistency(first, second)

    async def checkpoint(self, size: int | None) -> CheckpointInfo:
        return await self._reader.checkpoint(size)

    async def checkpoints(self, before: int | None, limit: int) -> tuple[CheckpointInfo, ...]:
        return await self._reader.checkpoints(before, limit)

    async def keys(self) -> tuple[KeyInfo, ...]:
        return await self._reader.keys()

    async def export(self, query: ExportQuery) -> AsyncIterator[bytes]:
        filters = AuditFilter(
            query.action,
            query.outcome,
            query.actor,
            query.target,
            since=query.since,
            until=query.until,
            request_id=query.request_id,
        )
        return await self._reader.export(query.format, filters)

    async def verify(self, call: AdminCall, remembered: Sequence[str]) -> Verdict:
        if self._verifying.locked():
            raise TooManyRequests("the log is being verified already; try again when that is done")
        async with self._verifying:
            verdict = await self._verifier.verify(remembered)
        await self._note_verdict(call, verdict)
        return verdict

    async def prune(self, call: AdminCall, before: datetime, *, dry_run: bool) -> PruneReport:
        if before > self._clock.now():
            raise InvalidInput([FieldProblem("before", "lies in the future")])
        if dry_run:
            plan = await self._pruner.plan(before)
            return PruneReport(before, plan.size, plan.events, plan.held_by, "", dry_run=True)
        if self._pruning.locked():
            raise TooManyRequests("events are being pruned already; try again when that is done")
        async with self._pruning:
            try:
                plan, statement = await self._pruner.prune(before, actor_of(call), call.request_id)
            except LogKeyUnusable as error:
                raise AuthorityUnavailable(str(error)) from error
            except DamagedTree:
                raise ProofUnavailable("the stored tree lacks hashes; verify the log (sds audit verify)") from None
        return PruneReport(before, plan.size, plan.events, plan.held_by, statement, dry_run=False)

    async def rotate_key(self, call: AdminCall) -> KeyInfo:
        try:
            await self._keys.rotate(actor_of(call), call.request_id)
        except LogKeyUnusable as error:
            raise AuthorityUnavailable(str(error)) from error
        return (await self._reader.keys())[-1]

    async def _note_verdict(self, call: AdminCall, verdict: Verdict) -> None:
        details: dict[str, Json] = {"size": verdict.size, "events": verdict.events}
        problems = verdict.findings.problems
        if problems:
            details["problems"] = len(problems) + verdict.findings.more
            details["first_problems"] = tuple(
                f"{one.kind} leaf={one.leaf} sequence={one.sequence}" for one in problems[:NAMED]
            )
        outcome = Outcome.SUCCESS if verdict.ok else Outcome.FAILURE
        reason = "" if verdict.ok else "the log is not what was signed"

        def work(uow: UnitOfWork) -> None:
            origin = "" if verdict.checkpoint is None else verdict.checkpoint.origin
            target = Target("audit_log", origin)
            uow.audit.append(
                self._desk.event(uow.now, call, "audit.verify", target, details, outcome=outcome, reason=reason)
            )

        await self._desk.store.write(work)
