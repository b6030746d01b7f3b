"""/v1/audit: the log, newest or following."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import ConfigDict
from starlette.requests import Request

from sds.admin.errors import TooManyRequests
from sds.admin.routes.common import MAX_PAGE
from sds.admin.services import AuditAdmin, AuditQuery, AuditRow, UnreadableRow
from sds.admin.wire import views
from sds.admin.wire.common import Input, TimeField

MAX_WAIT = 60


class AuditFilter(Input):
    model_config = ConfigDict(strict=False)

    after: Annotated[int | None, Query(ge=0, le=2**62)] = None
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100
    wait: Annotated[int, Query(ge=0, le=MAX_WAIT)] = 0  # seconds
    action: Annotated[str | None, Query(max_length=64)] = None
    outcome: Annotated[str | None, Query(max_length=16)] = None
    actor: Annotated[str | None, Query(max_length=2048)] = None
    target: Annotated[str | None, Query(max_length=2048)] = None
    since: TimeField | None = None
    until: TimeField | None = None
    request_id: Annotated[str | None, Query(max_length=64)] = None
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None

    def query(self) -> AuditQuery:
        return AuditQuery(
            self.after,
            self.limit,
            self.action,
            self.outcome,
            self.actor,
            self.target,
            self.since,
            self.until,
            self.request_id,
            self.before,
        )


class AuditRoutes:
    def __init__(self, audit: AuditAdmin, max_waiting: int) -> None:
        self._audit = audit
        self._free = max_waiting

    def mount(self, app: FastAPI) -> None:
        app.get("/v1/audit", operation_id="audit.tail")(self.tail)

    async def tail(self, request: Request, query: Annotated[AuditFilter, Query()]) -> views.AuditPage:
        """Events after `after`; without it, the newest, or those next below `before`. Oldest first either way.

        With `wait`, waits so many seconds for one if there is none.
        """
        rows = await (self._wait(request, query) if query.wait else self._audit.tail(query.query(), timedelta(0)))
        last = rows[-1].sequence if rows else query.after or 0
        return views.AuditPage(events=[views.audit_out(each) for each in rows], last_sequence=last)

    async def _wait(self, request: Request, query: AuditFilter) -> tuple[AuditRow | UnreadableRow, ...]:
        """A long poll ends with an event, with its time, or with its client."""
        if not self._free:
            raise TooManyRequests("too many are following the audit log at once; try again")
        self._free -= 1
        tail = asyncio.ensure_future(self._audit.tail(query.query(), timedelta(seconds=query.wait)))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((tail, gone), return_when=asyncio.FIRST_COMPLETED)
            return tail.result() if tail.done() else ()
        finally:
            tail.cancel()
            gone.cancel()
            await asyncio.gather(tail, gone, return_exceptions=True)
            self._free += 1


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
