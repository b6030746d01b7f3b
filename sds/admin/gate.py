"""The admin API's outermost layer: who asks, under which request id, within which bounds; logs and counts each request.

Plain ASGI, so that nothing in it reads a body, buffers a response, or hides an error from the layer below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sds.admin.door import Door
from sds.admin.errors import BodyTooLarge, NotAdmitted, TooManyRequests
from sds.admin.problems import Problem, problem_for
from sds.admin.services import AdminCall, AuditAdmin
from sds.logs import get_logger, request_context
from sds.store.errors import NotFound

REQUEST_ID = "X-Request-Id"
_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger(__name__)


class Observer(Protocol):
    """Counts requests. `route` is the path's template, never the path."""

    def admin_request(self, *, method: str, route: str, status: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`waiting`: long polls at once, among all requests at once."""

    body_bytes: int = 16 * 1024 * 1024
    concurrent: int = 256
    waiting: int = 64


class Gate:
    """Wraps the application, with the door by which callers of one listener enter. Who has no rights goes no further.

    What everybody may ask (`is_open`: the login) is let through as well.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        audit: AuditAdmin,
        limits: Limits,
        new_id: Callable[[], str],
        monotonic: Callable[[], float],
        observer: Observer | None = None,
        is_open: Callable[[Scope], bool] = lambda _scope: False,
        headers: Mapping[str, str] = MappingProxyType({}),
        shown: Callable[[Scope, Problem], ASGIApp | None] = lambda _scope, _problem: None,
    ) -> None:
        """`headers`: what every answer of this listener has beside the usual. `shown`: a problem as a page, to whom
        asked for one.
        """
        self._shown = shown
        self._app = app
        self._door = door
        self._is_open = is_open
        self._headers = headers
        self._audit = audit
        self._limits = limits
        self._new_id = new_id
        self._monotonic = monotonic
        self._observer = observer
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # no WebSockets here
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._monotonic()
        call = AdminCall(self._door.nobody(scope), self._request_id(scope))
        scope["state"] = {**(scope.get("state") or {}), "call": call}
        answer = _Answer(send, call.request_id, self._headers)
        bounded = _BoundedBody(receive, Headers(scope=scope), self._limits.body_bytes)
        self._running += 1
        with request_context(call.request_id):
            try:
                call = scope["state"]["call"] = await self._admit(call, scope)
                await self._app(scope, bounded, answer)
            except Exception as error:  # noqa: BLE001  # the outermost net: none may reach the web server's own log
                await self._fail(error, scope, bounded, answer)
            finally:
                self._running -= 1
                self._done(scope, call, answer.status, self._monotonic() - started)

    def _request_id(self, scope: Scope) -> str:
        given = Headers(scope=scope).getlist(REQUEST_ID)
        taken = len(given) == 1 and _WELL_FORMED_ID.fullmatch(given[0])
        return given[0] if taken else self._new_id()

    async def _admit(self, call: AdminCall, scope: Scope) -> AdminCall:
        if self._running > self._limits.concurrent:
            raise TooManyRequests("too many admin requests at once; try again")
        try:
            entered = await self._door.enter(scope, call)
        except NotAdmitted as error:
            if self._is_open(scope) and not error.final:
                return call
            if error.told:
                await self._audit.refused(
                    replace(call, caller=error.caller or call.caller), "admin.access", "", error.told
                )
            raise
        if not scope["path"].isprintable():  # a route's `$` would overlook a newline at the end
            raise NotFound("path", "it holds control characters")
        return entered

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, answer: _Answer) -> None:
        problem = problem_for(error)
        if problem.status == 500:
            log.error("admin request failed", exc_info=error)
        if answer.status == 0:
            page = self._shown(scope, problem) or problem.response(answer.request_id)
            await page(scope, receive, answer)
        elif not answer.complete:  # half an answer is out: break it off, which the web server does on an error
            raise RuntimeError("the admin request failed while its answer was being sent") from None

    def _done(self, scope: Scope, call: AdminCall, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = getattr(scope.get("route"), "path", "unmatched")
        say = log.info if route.startswith("/v1/") or method == "POST" else log.debug  # probes come every few seconds
        say(
            "admin request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            caller=call.caller.id,
            address=call.caller.address,
        )
        if self._observer is not None:
            self._observer.admin_request(method=method, route=route, status=status, seconds=seconds)


class _Answer:
    """`send` that notes the status and adds the headers which every answer has."""

    def __init__(self, send: Send, request_id: str, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.request_id = request_id
        self.status = 0  # 0: nothing sent yet
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.request_id
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
            for name, value in self._headers.items():
                headers[name] = value
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)


class _BoundedBody:
    """`receive` that stops a body beyond its bound, declared or not, before more of it is read."""

    def __init__(self, receive: Receive, headers: Headers, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        declared = headers.get("content-length", "")
        self._declared_too_large = (
            declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit)
        )
        self._read = 0

    async def __call__(self) -> Message:
        if self._declared_too_large:
            raise self._too_large()
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self._limit:
                raise self._too_large()
        return message

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than {self._limit} bytes")
