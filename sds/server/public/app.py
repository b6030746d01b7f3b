"""The ASGI application of a public listener: bounded, counted, and the same few answers to whoever asks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Router
from starlette.types import Message, Receive, Scope, Send

from sds.http.etag import known
from sds.logs import get_logger

ANSWER_SECONDS = 10.0
"""How long an answer may take to be made and sent; a client that does not read is cut off then."""
_SAFE = frozenset({"GET", "HEAD"})
_ALWAYS = {"x-content-type-options": "nosniff"}
_CLOSING = {"connection": "close", **_ALWAYS}


class PublicObserver(Protocol):
    """Is told of every request that was answered."""

    def public_request(self, endpoint: str, status: int) -> None: ...


class PublicApp:
    """Serves `routes`, whose names are what requests are counted by.

    GET and HEAD have no body here; only a route that lists POST may be sent one.
    """

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        observer: PublicObserver,
        address_of: Callable[[str], str],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`address_of`: the caller's address by the name of its connection. `answer_seconds`: see ANSWER_SECONDS."""
        self._answer_seconds = answer_seconds
        self._router = Router(routes=routes, redirect_slashes=False)
        self._names = {getattr(route, "endpoint", None): getattr(route, "name", "") for route in routes}
        self._observer = observer
        self._address_of = address_of
        self._log = get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._answer(scope, receive, note)
        except TimeoutError:
            self._log.warning("a public request took too long", path=scope["path"])
            if not status:  # else the connection is closed in the middle of the answer
                await PlainTextResponse("took too long", 503, headers=_CLOSING)(scope, receive, note)
        except Exception:  # noqa: BLE001  # a mistake of ours, told without detail
            self._log.exception("a public request broke", path=scope["path"])
            if not status:
                await PlainTextResponse("something went wrong here", 500, headers=_CLOSING)(scope, receive, note)
        finally:
            self._note(scope, status)

    def _note(self, scope: Scope, status: int) -> None:
        name = self._names.get(scope.get("endpoint"), "other")
        self._observer.public_request(name, status)
        address = self._address_of(scope.get("state", {}).get("connection", ""))
        self._log.debug("public request", endpoint=name, method=scope["method"], status=status, address=address)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _SAFE and _has_body(Request(scope)):
            answer = PlainTextResponse("a GET has no body here", 400, headers=_CLOSING)
            await answer(scope, receive, send)
            return
        await self._router(scope, receive, send)


def cached(
    request: Request, body: bytes, media_type: str, *, max_age: timedelta | None = None, etag: str = ""
) -> Response:
    """A public document that caches may keep for `max_age`, or must ask for again each time (None).

    A client that has it already, by its entity tag, is told so (RFC 9110 section 13.1.2, 15.4.5).
    """
    tag = f'"{etag or hashlib.sha256(body).hexdigest()[:32]}"'
    keep = "no-cache" if max_age is None else f"public, max-age={int(max_age.total_seconds())}"
    headers = {"etag": tag, "cache-control": keep, **_ALWAYS}
    if known(request.headers.getlist("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0").strip()
    return "transfer-encoding" in request.headers or length.strip("0") != ""
