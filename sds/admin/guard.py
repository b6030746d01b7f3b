"""Where the rules of access are enforced: before every handler, in one place. A route without a rule stops the start.

What a rule calls FILTERED or TARGET is let through with the caller's rights, and the handler narrows what it does.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
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
from sds.admin.noting import Noting
from sds.admin.problems import problem_for
from sds.admin.reading import Asked
from sds.admin.services import AdminCall, AuditAdmin
from sds.audit.trace import traced
from sds.store.errors import StoreUnavailable

LOGIN = "session.login"
"""Ends whatever session there was, and where it was sent from is checked by the door."""
_MAX_FORM = 256 * 1024
_MAX_FIELDS = 500

NOTED = "noted"
"""Of a request's state: whether it stands in the audit log already, which counts for what a page asks beneath it. No
client can set it: where it is missing, the request came from outside."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Around = Callable[[Request, AdminCall, str, Callable[[], Awaitable[Response]]], Awaitable[Response]]
"""What may step in between a decision and its handler: four eyes. Given the request, the call and the operation."""


class Guard:
    """Decides on each request before its handler runs, and sees to it that each has an audit event.

    1. What the rules refuse is refused, and told by who answers errors.
    2. Reading (GET, and whatever is sensitive) is noted before anything is read.
    3. Anything else leaves its own event, in the transaction of what it does. What leaves none (a dry run, a change
       that changes nothing, a repetition) was reading, too, and is noted after.
    4. A page is noted as a page; what it asks beneath is not noted again, unless it is sensitive and the page is not.
    """

    def __init__(self, audit: AuditAdmin, monotonic: Callable[[], float], *, rules: Mapping[str, Rule] = RULES) -> None:
        self._rules = rules
        self._asked = Asked()
        self.noting = Noting(audit, monotonic)
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
        rule = self._rules[operation]
        if request.method == "GET" or rule.sensitive:
            await self._note(request, call, operation)
            return await self._answer(request, call, operation, handler)
        if rule.unnoted or hasattr(request.state, NOTED):
            return await self._answer(request, call, operation, handler)
        return await self._followed(request, call, operation, handler)

    async def _answer(self, request: Request, call: AdminCall, operation: str, handler: Handler) -> Response:
        if request.method == "GET" and request.url.path.startswith("/v1/"):
            return unless_known(request, await handler(request))
        return await self.once(request, call, operation, lambda: self._do(request, call, operation, handler))

    async def _note(self, request: Request, call: AdminCall, operation: str) -> None:
        """Raises what the store raises where it must not go on without."""
        rule = self._rules[operation]
        beneath: bool | None = getattr(request.state, NOTED, None)
        if rule.unnoted or beneath:
            return
        reading = self._asked.reading(request, operation)
        if rule.sensitive:
            await self.noting.sensitive(call, reading)
        elif beneath is None:
            request.state.noted = await self.noting.usual(call, reading)

    async def _followed(self, request: Request, call: AdminCall, operation: str, handler: Handler) -> Response:
        """Whatever it was, it has left an event when this ends, but for a refusal, which who answers it tells."""
        request.state.noted = False
        reading = self._asked.reading(request, operation)
        with traced() as trace:
            try:
                answer = await self._answer(request, call, operation, handler)
            except Exception as error:
                status = problem_for(error).status
                if not trace.events and status >= 500 and not isinstance(error, StoreUnavailable):
                    await self.noting.ended(call, operation, reading.target, status)
                raise
        if not trace.events and answer.status_code >= 400:
            await self.noting.ended(call, operation, reading.target, answer.status_code)
        elif not trace.events:
            await self.noting.usual(call, reading)
        return answer

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
        self._asked = Asked(handled)
        self._open = tuple(each for each in handled if self._rules[each.operation_id or ""].scoping is Scoping.OPEN)

    def is_open(self, scope: Scope) -> bool:
        """Whether the request is for something that everybody may ask, known or not."""
        return any(route.matches(scope)[0] is Match.FULL for route in self._open)


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
