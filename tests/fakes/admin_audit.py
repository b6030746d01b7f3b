"""The audit log of the admin services in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from sds.admin.services import AdminCall, AuditQuery, AuditRow, UnreadableRow
from sds.admin.services.audit import Reading
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.audit.trace import left


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
        self.reads: list[tuple[AdminCall, Reading]] = []  # beside the rows, which tests count
        self.altered: set[int] = set()  # sequences of events that cannot be read any more
        self.fail: Exception | None = None  # raised by the next append
        self.slow: asyncio.Event | None = None  # what notes of reads wait for
        self.tries = 0  # to note a read

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
        left(1)
        async with self._arrived:
            self._arrived.notify_all()

    async def refused(
        self, call: AdminCall, action: str, target: str, reason: str, *, outcome: Outcome = Outcome.REFUSED
    ) -> None:
        await self.append(call, action, target, outcome, reason)

    async def noted(self, call: AdminCall, reading: Reading) -> None:
        self.tries += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.fail is not None:
            raise self.fail
        self.reads.append((call, reading))
        left(1)

    def read(self, row: AuditRow) -> AuditRow | UnreadableRow:
        return UnreadableRow(row.sequence, "the bytes are no event") if row.sequence in self.altered else row

    def _matching(self, query: AuditQuery) -> tuple[AuditRow | UnreadableRow, ...]:
        rows = [row for row in self.rows if _matches(row, query)]
        return tuple(map(self.read, rows[-query.limit :] if query.after is None else rows[: query.limit]))

    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow | UnreadableRow, ...]:
        async with self._arrived:
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._arrived.wait_for(lambda: bool(self._matching(query)))
            except TimeoutError:
                return self._matching(query)
        return self._matching(query)
