"""All pages, put onto the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeAlias

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sds.admin.errors import Forbidden
from sds.admin.pages.api import Api, Refused
from sds.admin.pages.assets import Assets
from sds.admin.pages.live import Live
from sds.admin.pages.render import environment
from sds.admin.pages.visit import Desk, Visit
from sds.admin.problems import Problem, problem_for
from sds.admin.services import AuditAdmin
from sds.logs import get_logger

Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]
SHOW, ACT, LIVE, ASSET, LOGIN = "page.show", "page.act", "page.live", "page.asset", "page.login"
"""The operations of pages. The rules ask for some role; what a page shows and does is /v1's to allow."""

log = get_logger(__name__)


class Site:
    """Registers handlers, each of which then answers a Visit; whatever one raises becomes a page."""

    def __init__(self, app: FastAPI, audit: AuditAdmin, now: Callable[[], datetime]) -> None:
        self._app = app
        self._audit = audit
        self.desk = Desk(Api(app), environment(), Assets(), now)

    def show(self, path: str, handler: Handler) -> None:
        self._app.get(path, operation_id=SHOW, include_in_schema=False, response_model=None)(self._endpoint(handler))

    def act(self, path: str, handler: Handler) -> None:
        self._app.post(path, operation_id=ACT, include_in_schema=False, response_model=None)(self._endpoint(handler))

    def open(self, path: str, handler: Handler) -> None:
        """A page for everybody, known or not."""
        self._app.get(path, operation_id=LOGIN, include_in_schema=False, response_model=None)(self._endpoint(handler))

    def extras(self, live: Live) -> None:
        """Style sheet, scripts, and the stream of changes."""
        assets = self.desk.assets

        async def asset(name: str) -> Response:
            return assets.response(name)

        self._app.get("/assets/{name}", operation_id=ASSET, include_in_schema=False, response_model=None)(asset)
        self._app.get("/changes", operation_id=LIVE, include_in_schema=False, response_model=None)(live.stream)

    def shown(self, scope: Scope, problem: Problem) -> Response | None:
        """A problem that no page has, as a page, to a browser that asked for one; else None."""
        wanted = "text/html" in Headers(scope=scope).get("accept", "")
        if not wanted or problem.status < 400 or scope["path"].startswith("/v1"):
            return None
        try:
            visit = Visit(self.desk, Request(scope))
            answer = visit.problem(problem.document(visit.call.request_id))
        except Exception:  # the problem itself is answered then
            log.exception("a problem could not be shown")
            return None
        answer.headers.update(problem.headers)
        return answer

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            visit = Visit(self.desk, request)
            try:
                return await handler(visit)
            except Refused as error:  # which /v1 has put into the audit log
                return visit.problem(error.problem)
            except Exception as error:  # noqa: BLE001  # a page, too, and nothing of it without our table
                return await self._failed(visit, error)

        return endpoint

    async def _failed(self, visit: Visit, error: Exception) -> Response:
        problem = problem_for(error)
        if problem.status == 500:
            log.error("a page failed", exc_info=error)
        elif isinstance(error, Forbidden):
            try:
                await self._audit.refused(visit.call, ACT, visit.request.scope["route"].path, str(error))
            except Exception as unwritten:  # noqa: BLE001  # nothing was done: the answer comes first
                log.warning("a refusal could not be audited", action=ACT, error=type(unwritten).__qualname__)
        return visit.problem(problem.document(visit.call.request_id))
