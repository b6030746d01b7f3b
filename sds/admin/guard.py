"""Where the rules of access are enforced: before every handler, in one place. A route without a rule stops the start.

What a rule calls FILTERED or TARGET is let through with the caller's rights, and the handler narrows what it does.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from sds.admin.access.decide import permitted
from sds.admin.access.rules import RULES, Rule, Scoping
from sds.admin.conditional import unless_known
from sds.admin.errors import BodyTooLarge, Forbidden
from sds.admin.services import AdminCall, AuditAdmin

READ_AGAIN = timedelta(minutes=10)
"""Following a log is one act of reading, not one a request."""
_MAX_READERS = 4096
_PLACES = frozenset({"after", "before", "cursor", "limit", "wait"})

LOGIN = "session.login"
"""Ends whatever session there was, and where it was sent from is checked by the door."""
_MAX_FORM = 256 * 1024
_MAX_FIELDS = 500

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Around = Callable[[Request, AdminCall, str, Callable[[], Awaitable[Response]]], Awaitable[Response]]
"""What may step in between a decision and its handler: four eyes. Given the request, the call and the operation."""


class Guard:
    """Decides on each request before its handler runs, and notes who reads what is sensitive."""

    def __init__(self, audit: AuditAdmin, monotonic: Callable[[], float], *, rules: Mapping[str, Rule] = RULES) -> None:
        self._audit = audit
        self._monotonic = monotonic
        self._rules = rules
        self._read: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._open: tuple[APIRoute, ...] = ()
        self.around: Around | None = None
        self.once: Around = _always

    def route_class(self) -> type[APIRoute]:
        """What an application's routes must be made of."""
        guard = self

        class GuardedRoute(APIRoute):
            def get_route_handler(self) -> Handler:
                handler = super().get_route_handler()
                operation = self.operation_id or ""

                async def guarded(request: Request) -> Response:
                    return await guard(request, operation, handler)

                return guarded

        return GuardedRoute

    async def __call__(self, request: Request, operation: str, handler: Handler) -> Response:
        """The handler's answer, if the caller may have it. Raises Forbidden."""
        call: AdminCall = request.state.call
        try:
            permitted(call, operation, self._rules)
        except Forbidden:
            request.state.refused_by_rule = True
            raise
        if getattr(request.state, "csrf_due", False) and operation != LOGIN:
            await _check_form(request, call.csrf)
        if self._rules[operation].sensitive:
            await self._note(call, operation, request)
        if request.method == "GET" and request.url.path.startswith("/v1/"):
            return unless_known(request, await handler(request))
        return await self.once(request, call, operation, lambda: self._do(request, call, operation, handler))

    async def _do(self, request: Request, call: AdminCall, operation: str, handler: Handler) -> Response:
        if self.around is None:
            return await handler(request)
        return await self.around(request, call, operation, lambda: handler(request))

    def check(self, routes: Iterable[BaseRoute]) -> None:
        """Raises RuntimeError for a route that goes past the rules, or has none."""
        handled = list[APIRoute]()
        for route in routes:
            if not isinstance(route, APIRoute) or type(route).__name__ != "GuardedRoute":
                raise RuntimeError(f"the route {getattr(route, 'path', route)} is not guarded")
            if route.operation_id not in self._rules:
                raise RuntimeError(f"the route {route.path} ({route.operation_id}) has no rule of access")
            handled.append(route)
        self._open = tuple(each for each in handled if self._rules[each.operation_id or ""].scoping is Scoping.OPEN)

    def is_open(self, scope: Scope) -> bool:
        """Whether the request is for something that everybody may ask, known or not."""
        return any(route.matches(scope)[0] is Match.FULL for route in self._open)

    async def _note(self, call: AdminCall, operation: str, request: Request) -> None:
        """Before it is read, so that nothing is read that could not be noted."""
        asked = "&".join(
            f"{name}={value}" for name, value in sorted(request.query_params.multi_items()) if name not in _PLACES
        )
        key, now = (call.caller.id, operation, asked), self._monotonic()
        then = self._read.get(key)
        if then is not None and now - then < READ_AGAIN.total_seconds():
            return
        await self._audit.noted(call, operation, asked)
        self._read[key] = now
        self._read.move_to_end(key)
        if len(self._read) > _MAX_READERS:
            self._read.popitem(last=False)


async def _always(
    _request: Request, _call: AdminCall, _operation: str, handler: Callable[[], Awaitable[Response]]
) -> Response:
    return await handler()


async def _check_form(request: Request, csrf: str) -> None:
    """A cookie alone vouches for nothing that changes something: the form has the session's secret. Raises Forbidden.

    The API takes it in a header alone, which the door has looked for.
    """
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    given: list[str] = []
    if not request.url.path.startswith("/v1/") and declared == "application/x-www-form-urlencoded":
        body = await request.body()
        if len(body) > _MAX_FORM:
            raise BodyTooLarge(f"the form is larger than {_MAX_FORM} bytes")
        with suppress(ValueError):
            fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
            given = [value for name, value in fields if name == "csrf"]
    if len(given) != 1 or not hmac.compare_digest(given[0].encode(), csrf.encode()):
        request.state.refused_by_rule = True
        raise Forbidden("the request does not have this session's CSRF secret; open the page anew and send it again")
