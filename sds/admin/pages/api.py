"""The admin API as the pages use it: in this process, with the caller, rights and request id of the page's own request.

Every rule, every scope, every refusal and its audit event are thus those of /v1; the pages have no say of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.types import ASGIApp, Message

from sds.admin.problems import INTERNAL

Params = Iterable[tuple[str, str]]
_OURS = frozenset({"call", "peer", "noted"})
"""Of the request's state: who asks, and whether that stands in the audit log already. The rest is the page's."""


class Refused(Exception):
    """The API refused; `problem` is its problem document (RFC 9457), whose words are safe to show."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem["detail"]))
        self.problem = problem

    @property
    def status(self) -> int:
        return int(self.problem["status"])

    @property
    def code(self) -> str:
        """What follows the URN in its type, e.g. ``not-found``."""
        return str(self.problem["type"]).rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API; `value` is its JSON, or its text where it is no JSON."""

    status: int
    value: Any


class Api:
    """Calls the application of /v1 directly: below the gate, through which the page's own request came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def get(self, request: Request, path: str, params: Params = ()) -> Any:
        """Raises Refused."""
        return (await self.send(request, "GET", path, params=params)).value

    async def send(
        self,
        request: Request,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Params = (),
        if_match: str = "",
    ) -> Answer:
        """`if_match`: a revision. Raises Refused for a status of 400 or more."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = [(b"content-type", b"application/json")] if content else []
        if if_match:
            headers.append((b"if-match", b'"%s"' % if_match.encode("ascii", "replace")))
        state = {name: value for name, value in request.scope["state"].items() if name in _OURS}
        scope = _scope(request, method, path, params, headers) | {"state": state}
        heard = _Heard(content)
        await self._app(scope, heard.receive, heard.send)
        return heard.answer(state["call"].request_id)


def _scope(
    request: Request, method: str, path: str, params: Params, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    kept = [(name, value) for name, value in request.scope["headers"] if name == b"host"]
    return {
        "type": "http",
        "asgi": request.scope["asgi"],
        "http_version": "1.1",
        "method": method,
        "scheme": request.scope.get("scheme", "http"),
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": urlencode(list(params)).encode(),
        "root_path": "",
        "headers": [*kept, *headers],
        "client": request.scope.get("client"),
        "server": request.scope.get("server"),
    }


class _Heard:
    """One request's body out, one answer in."""

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content
        self._status = 0
        self._type = ""
        self._body = bytearray()

    async def receive(self) -> Message:
        if self._content is None:
            return {"type": "http.disconnect"}
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._type = dict(message["headers"]).get(b"content-type", b"").decode("latin-1").split(";")[0]
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def answer(self, request_id: str) -> Answer:
        text = self._body.decode()
        if self._status < 400:
            return Answer(self._status, json.loads(text) if self._type == "application/json" else text)
        if self._type == "application/problem+json":
            raise Refused(json.loads(text))
        raise Refused(INTERNAL.document(request_id))


def segment(text: str) -> str:
    """A value as one segment of a URL of ours."""
    return quote(text, safe="")
