"""``GET /v1/secrets/NAME``: the kernel says who calls, attestation what it is, the server's grants what it gets.

A header that no browser and no redirect adds by itself is needed, so that a program that can be made to send requests
(server-side request forgery) does not fetch secrets for somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from attestation.errors import AttestationRefused
from sds.agent.api.clients import Client, Clients
from sds.clock import Clock
from sds.delivery.errors import LimitExceeded
from sds.delivery.messages import NO_IDENTITY, NOT_GRANTED
from sds.delivery.secret_name import may_be_secret
from sds.delivery.view import Absence
from sds.http.etag import known
from sds.secrets.document import NoSuchField, document, etag, one_field
from sds.secrets.secret import SecretValue

HEADER = "x-sds-request"
MAX_WAIT = 600
"""Seconds that one request may wait for a change."""
RETRY_SECONDS = 2
_REFUSALS = frozenset({NO_IDENTITY, NOT_GRANTED})
_PRIVATE = {"cache-control": "no-store", "x-content-type-options": "nosniff", "vary": HEADER}


class ApiObserver(Protocol):
    """Is told of every answer, on the loop. Must neither block nor raise."""

    def answered(self, outcome: str) -> None:
        """One of sds.metrics.kinds.API_OUTCOMES."""
        ...

    def refused(self, status: int, reason: str) -> None: ...


class SecretsApi:
    """`patience`: seconds that a request without `wait` waits for the server's first word on a secret."""

    def __init__(self, clients: Clients, observer: ApiObserver, clock: Clock, *, patience: float) -> None:
        self._clients = clients
        self._observer = observer
        self._clock = clock
        self._patience = patience

    def app(self) -> Starlette:
        """The ASGI application. Errors are problem documents (RFC 9457)."""
        routes = [Route("/v1/secrets/{name:path}", self._get, methods=["GET"])]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._problem, Exception: _broken})

    async def _get(self, request: Request) -> Response:
        """1. The header. 2. A name and a time that make sense. 3. Who calls. 4. What that one may have."""
        if request.headers.get(HEADER, "").lower() != "true":
            raise HTTPException(403, "send the header X-SDS-Request: true; it shows that the request is meant")
        name, wait = request.path_params["name"], _wait(request)
        if not may_be_secret(name):
            raise HTTPException(404, "no secret can have this name")
        try:
            client = await self._clients.client(request.scope.get("state", {}).get("connection", ""))
            client.want(name)
            return await self._answer(request, client, name, wait)
        except AttestationRefused as refusal:
            raise HTTPException(403, str(refusal)) from None
        except LimitExceeded as limit:
            raise HTTPException(429, str(limit), {"retry-after": str(RETRY_SECONDS)}) from None

    async def _answer(self, request: Request, client: Client, name: str, wait: float) -> Response:
        """As soon as it is other than the client has it, or when the time is over. Raises AttestationRefused."""
        field = request.query_params.get("field")
        has = request.headers.getlist("if-none-match")
        end = self._clock.monotonic() + wait
        first_word = self._clock.monotonic() + max(wait, self._patience)
        while True:
            found = client.find(name)
            if isinstance(found, SecretValue):
                tag = etag(found, field)
                if not known(has, tag):
                    return self._serve(found, name, field, tag)
                if self._clock.monotonic() >= end:
                    self._observer.answered("unchanged")
                    return Response(status_code=304, headers={**_PRIVATE, "etag": tag})
            left = (first_word if found is None else end) - self._clock.monotonic()
            over = left <= 0 or not await client.news(left)
            if over and not isinstance(found, SecretValue):
                raise _absent(found)
            if client.closed:
                return Response(status_code=503)  # to nobody

    def _serve(self, value: SecretValue, name: str, field: str | None, tag: str) -> Response:
        headers = {**_PRIVATE, "etag": tag, "sds-secret-version": value.version}
        if field is None:
            body, media_type = document(name, value), "application/json"
        else:
            try:
                body, media_type = one_field(value, field), "application/octet-stream"
            except NoSuchField:
                raise HTTPException(404, "the secret has no field of this name") from None
        self._observer.answered("served")
        return Response(body, media_type=media_type, headers=headers)

    async def _problem(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        code = error.status_code
        self._observer.answered(_OUTCOMES.get(code, "invalid"))
        if code in {403, 429}:
            self._observer.refused(code, error.detail)
        body = {"type": "about:blank", "title": _TITLES.get(code, "error"), "status": code, "detail": error.detail}
        headers = {**_PRIVATE, **(error.headers or {})}
        return JSONResponse(body, status_code=code, headers=headers, media_type="application/problem+json")


async def _broken(_request: Request, _error: Exception) -> Response:
    body = {"type": "about:blank", "title": "internal error", "status": 500, "detail": "something went wrong here"}
    return JSONResponse(body, status_code=500, headers=_PRIVATE, media_type="application/problem+json")


def _wait(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MAX_WAIT):
        raise HTTPException(422, f"wait is how many seconds to wait for a change, 0 to {MAX_WAIT}")
    return float(text)


def _absent(found: Absence | None) -> HTTPException:
    """Not granted and not existing look the same."""
    if found is not None and found.reason in _REFUSALS:
        return HTTPException(404, found.reason)
    detail = "the server has not answered yet" if found is None else found.reason
    return HTTPException(503, detail, {"retry-after": str(RETRY_SECONDS)})


_TITLES: Mapping[int, str] = {
    403: "refused",
    404: "not found",
    405: "method not allowed",
    422: "invalid request",
    429: "too many requests",
    503: "not available now",
}
_OUTCOMES: Mapping[int, str] = {403: "refused", 404: "absent", 429: "refused", 503: "unavailable"}
