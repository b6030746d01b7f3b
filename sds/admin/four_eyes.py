"""Puts chosen requests before somebody else, and does them, once approved, as if the requester had sent them then."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import rfc8785
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message

from sds.admin import strict_json
from sds.admin.access.four_eyes import DRY_BY_QUERY, concerned, needed
from sds.admin.errors import MalformedBody
from sds.admin.services import AdminCall
from sds.admin.services.approvals import ApprovalAdmin, Approved
from sds.admin.wire.approvals import approval_out

APPROVED = "approved"
"""Of a request's state: the digest of what was approved. No client can set it: only `perform` makes such requests."""
_HEADERS = ("content-type", "if-match")


class FourEyes:
    """Steps in before a handler (sds.admin.guard.Around). `chosen` of sds.admin.access.four_eyes."""

    def __init__(self, approvals: ApprovalAdmin, chosen: Collection[str]) -> None:
        self._approvals = approvals
        self._chosen = frozenset(chosen)

    async def __call__(
        self, request: Request, call: AdminCall, operation: str, handler: Callable[[], Awaitable[Response]]
    ) -> Response:
        if not concerned(operation, self._chosen):
            return await handler()
        body = await request.body()
        if not needed(operation, _asked(request, operation, body), self._chosen):
            return await handler()
        what = _canonical(request, call, operation, body)
        approved: str = getattr(request.state, APPROVED, "")
        if approved and hmac.compare_digest(approved, hashlib.sha256(what).hexdigest()):
            return await handler()
        info = await self._approvals.ask(call, operation, request.scope["path"], what)
        answer = approval_out(info).model_dump(mode="json")
        return JSONResponse(answer, status_code=202, headers={"Location": f"/v1/approvals/{info.id}"})


async def perform(app: ASGIApp, approved: Approved) -> tuple[int, Any]:
    """Send what was asked for to the application, as who asked for it; its status and its JSON."""
    asked = json.loads(approved.info.request)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in asked["headers"].items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked["method"],
        "scheme": "https",
        "path": asked["path"],
        "raw_path": asked["path"].encode(),
        "query_string": asked["query"].encode(),
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "state": {"call": approved.requester, APPROVED: approved.info.digest},
    }
    heard = _Heard(asked["body"].encode())
    await app(scope, heard.receive, heard.send)
    return heard.status, heard.value


class _Heard:
    """One request's body out, one answer in."""

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content
        self._body = bytearray()
        self.status = 0

    async def receive(self) -> Message:
        if self._content is None:
            return {"type": "http.disconnect"}
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    @property
    def value(self) -> Any:
        return json.loads(self._body) if self._body else None


def _asked(request: Request, operation: str, body: bytes) -> Mapping[str, object]:
    """What matters of it. A body that cannot be read is the handler's to refuse, which it then does before all else.

    Whether it is a dry run stands where the operation itself looks for it, and nowhere else: a word that the handler
    does not hear must not speak for the request here.
    """
    try:
        value = strict_json.parse(body) if body else {}
    except MalformedBody:
        return {"dry_run": True}
    if not isinstance(value, dict):
        return {"dry_run": True}
    if operation not in DRY_BY_QUERY:
        return value
    said = request.query_params.getlist("dry_run")
    return {**value, "dry_run": bool(said) and all(each == "true" for each in said)}


def _canonical(request: Request, call: AdminCall, operation: str, body: bytes) -> bytes:
    """All that decides what is done, and for whom, in one spelling (RFC 8785)."""
    caller = call.caller
    return rfc8785.dumps(
        {
            "operation": operation,
            "method": request.method,
            "path": request.scope["path"],
            "query": request.scope["query_string"].decode("ascii", "replace"),
            "headers": {name: request.headers[name] for name in _HEADERS if name in request.headers},
            "body": body.decode(),
            "caller": {
                "kind": caller.kind.value,
                "id": caller.id,
                "name": caller.name,
                "subjects": list(call.subjects),
            },
        }
    )
