"""The audit log of the admin services in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from sds.admin.services import AdminCall, AuditQuery, AuditRow
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target


def _matches(row: AuditRow, query: AuditQuery) -> bool:
    event = row.event
    wanted = query.action or event.action
    return (
        row.sequence > (query.after or 0)
        and (event.action.startswith(wanted) if wanted.endswith(".") else event.action == wanted)
        and query.outcome in (None, event.outcome.value)
        and query.actor in (None, event.actor.id)
        and query.target in (None, event.target.id)
        and query.request_id in (None, event.request_id)
        and (query.since is None or event.time >= query.since)
        and (query.until is None or event.time < query.until)
        and (query.before is None or row.sequence < query.before)
    )


class FakeAudit:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._arrived = asyncio.Condition()
        self.rows: list[AuditRow] = []
        self.reads: list[tuple[str, str, str]] = []  # caller, operation, filter: beside the rows, which tests count
        self.fail: Exception | None = None  # raised by the next append

    async def append(self, call: AdminCall, action: str, target: str, outcome: Outcome, reason: str = "") -> None:
        if self.fail is not None:
            raise self.fail
        number = len(self.rows) + 1
        event = AuditEvent(
            id=f"{number:032x}",
            time=self._now(),
            action=action,
            outcome=outcome,
            actor=Actor(ActorKind.ADMIN, call.caller.id, call.caller.address),
            target=Target(action.split(".", maxsplit=1)[0], target),
            reason=reason,
            request_id=call.request_id,
            node="fake",
        )
        self.rows.append(AuditRow(number, event))
        async with self._arrived:
            self._arrived.notify_all()

    async def refused(self, call: AdminCall, action: str, target: str, reason: str) -> None:
        await self.append(call, action, target, Outcome.REFUSED, reason)

    async def noted(self, call: AdminCall, operation: str, asked: str) -> None:
        if self.fail is not None:
            raise self.fail
        self.reads.append((call.caller.id, operation, asked))

    def _matching(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        rows = [row for row in self.rows if _matches(row, query)]
        return tuple(rows[-query.limit :] if query.after is None else rows[: query.limit])

    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow, ...]:
        async with self._arrived:
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._arrived.wait_for(lambda: bool(self._matching(query)))
            except TimeoutError:
                return self._matching(query)
        return self._matching(query)
