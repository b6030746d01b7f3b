"""Reading the audit log, and recording what the admin API refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sds.admin.services import AdminCall, AuditQuery, AuditRow, UnreadableRow
from sds.admin.services.audit import Reading
from sds.audit.event import Json, Outcome, Target
from sds.clock import Clock
from sds.server.audit.encode import audit_row
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

    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow | UnreadableRow, ...]:
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
                return tuple(map(audit_row, found))
            await asyncio.sleep(min(_POLL, left))

    async def refused(
        self, call: AdminCall, action: str, target: str, reason: str, *, outcome: Outcome = Outcome.REFUSED
    ) -> None:
        kind = action.partition(".")[0]

        def work(uow: UnitOfWork) -> None:
            where = Target(kind, target[:_MAX_TARGET])
            uow.audit.append(self._desk.event(uow.now, call, action, where, outcome=outcome, reason=reason))

        await self._desk.store.write(work)

    async def noted(self, call: AdminCall, reading: Reading) -> None:
        operation, details, reason = reading.operation, _details(reading), ""
        where = Target(operation.partition(".")[0], reading.target[:_MAX_TARGET])
        if not reading.target:
            where = Target("operation", operation)
        if reading.more_than:
            reason = f"more than {reading.more_than} different ones within ten minutes: the rest is not told one by one"

        def work(uow: UnitOfWork) -> None:
            uow.audit.append(self._desk.event(uow.now, call, "admin.read", where, details, reason=reason))

        await self._desk.store.write(work)


def _details(reading: Reading) -> dict[str, Json]:
    details: dict[str, Json] = {"operation": reading.operation, "asked": reading.asked[:_MAX_TARGET]}
    if reading.more_than:
        details["more_than"] = reading.more_than
    if reading.missed:
        details["missed"] = reading.missed
    return details
