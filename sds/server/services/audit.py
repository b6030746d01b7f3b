"""Reading the audit log, and recording what the admin API refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sds.admin.services import AdminCall, AuditQuery, AuditRow
from sds.audit.event import Json, Outcome, Target
from sds.clock import Clock
from sds.server.services.common import Desk
from sds.store.records import AuditFilter
from sds.store.unit_of_work import UnitOfWork

_POLL = 0.25
"""Seconds between two looks of a long poll. Appending wakes nobody: it is the hot path of issuance."""
_MAX_TARGET = 2048


class AuditService:
    """Implements sds.admin.services.AuditAdmin."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock

    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow, ...]:
        filters = AuditFilter(
            query.action,
            query.outcome,
            query.actor,
            query.target,
            since=query.since,
            until=query.until,
            request_id=query.request_id,
            before=query.before,
        )
        until = self._clock.monotonic() + wait.total_seconds()
        while True:
            found = await self._desk.store.read(lambda uow: uow.audit.tail(query.after, query.limit, filters))
            left = until - self._clock.monotonic()
            if found or left <= 0:
                return tuple(AuditRow(stored.seq, stored.event) for stored in found)
            await asyncio.sleep(min(_POLL, left))

    async def refused(self, call: AdminCall, action: str, target: str, reason: str) -> None:
        kind = action.partition(".")[0]

        def work(uow: UnitOfWork) -> None:
            where = Target(kind, target[:_MAX_TARGET])
            uow.audit.append(self._desk.event(uow.now, call, action, where, outcome=Outcome.REFUSED, reason=reason))

        await self._desk.store.write(work)

    async def noted(self, call: AdminCall, operation: str, asked: str) -> None:
        def work(uow: UnitOfWork) -> None:
            details: dict[str, Json] = {"operation": operation, "asked": asked[:_MAX_TARGET]}
            where = Target("operation", operation)
            uow.audit.append(self._desk.event(uow.now, call, "admin.read", where, details))

        await self._desk.store.write(work)
