"""One connection to the admin API: sends a call, reads no more of its answer than is good, and tries again where asked.

Whoever answers may be broken or hostile: sizes, times, redirects and encodings are bounded or refused here.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

import httpx

from sds.client.errors import ApprovalNeeded, BrokenOff, NotTheApi, Unusable
from sds.client.targets import Https, Target
from sds.client.transport.channel import Channel, unreachable
from sds.client.transport.encoding import if_match_header, texts
from sds.client.transport.problems import refusal
from sds.client.transport.retry import Retry, retry_after_seconds
from sds.clock import Clock, SystemClock

TIMEOUT = 30.0
"""Seconds from sending a call to the end of its answer."""
MOST_BYTES = 64 * 1024 * 1024
"""Of one answer; exports are read as they come and have no bound but that of a line."""
LONGEST_LINE = 16 * 1024 * 1024

Query = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked and what came of it, for whoever watches; nothing of what was sent or answered.

    `path` has the query. `request_id`: under which the server logs it; "-" if it said none.
    """

    method: str
    path: str
    status: int
    seconds: float
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes
    where: str
    etag: str = ""

    def json(self) -> Any:
        """Raises NotTheApi."""
        try:
            return json.loads(self.content, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise NotTheApi(self.where) from None


def _no_constant(_: str) -> NoReturn:
    raise ValueError("JSON has no such number")


@dataclass(frozen=True, slots=True)
class _Order:
    """A call as it is sent, as often as need be."""

    method: str
    path: str
    query: Mapping[str, str | list[str]]
    body: object
    headers: Mapping[str, str]
    timeout: float

    @property
    def repeatable(self) -> bool:
        """Whether repeating it does no harm if it was done."""
        return self.method == "GET" or "Idempotency-Key" in self.headers


class Connection:
    """Sends calls to one target. Errors: Unusable, Unreachable, NotTheApi, Refused; see `sds.client.errors`."""

    def __init__(
        self,
        target: Target,
        *,
        timeout: float = TIMEOUT,
        retry: Retry | None = None,
        on_call: Callable[[Call], None] | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        new_key: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._retry = retry or Retry()
        self._on_call = on_call
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._new_key = new_key
        self._channel = Channel(target, timeout)

    @property
    def where(self) -> str:
        return str(self._target)

    def close(self) -> None:
        self._channel.close()

    def get(self, path: str, query: Query | None = None, *, timeout: float | None = None) -> Answer:
        return self._try(self._order("GET", path, query, timeout=timeout))

    def post(
        self,
        path: str,
        body: object = None,
        query: Query | None = None,
        *,
        keyed: bool = True,
        if_match: str | None = None,
        timeout: float | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """`keyed`: with an Idempotency-Key, so that repeating it does it once; not for what only asks.

        A body of bytes is sent as it is, as `content_type`.
        """
        headers = {"Content-Type": content_type} if isinstance(body, bytes) else {}
        headers |= if_match_header(if_match)
        if keyed:
            headers["Idempotency-Key"] = self._new_key()
        return self._try(self._order("POST", path, query, body, headers, timeout))

    def put(self, path: str, body: object, query: Query | None = None, *, if_match: str | None = None) -> Answer:
        return self._try(self._order("PUT", path, query, body, if_match_header(if_match)))

    def delete(self, path: str, query: Query | None = None, *, if_match: str | None = None) -> Answer:
        return self._try(self._order("DELETE", path, query, None, if_match_header(if_match)))

    def lines(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """An export, line by line as it comes, without their ends. Raises NotTheApi for one that has no end."""
        order = self._order("GET", path, query)
        rest = bytearray()
        with self._sent(order) as answer:
            if answer.status_code >= 300:
                self._judge(order, answer, self._content(answer, self._clock.monotonic() + order.timeout))
            for chunk in self._chunks(answer):
                rest += chunk
                *whole, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                yield from whole
                if len(rest) > LONGEST_LINE:
                    raise NotTheApi(self.where, "a line of its export has no end")
        if rest:
            yield bytes(rest)

    def _order(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> _Order:
        given = {key: texts(value) for key, value in (query or {}).items() if value not in (None, "", [], ())}
        return _Order(method, path, given, body, dict(headers or {}), timeout or self._timeout)

    def _try(self, order: _Order) -> Answer:
        attempt = 1
        while True:
            with self._sent(order) as answer:
                content = self._content(answer, self._clock.monotonic() + order.timeout)
                status, header = answer.status_code, answer.headers.get("retry-after")
                if status < 300:
                    return self._accepted(Answer(status, content, self.where, answer.headers.get("etag", "")))
                after = retry_after_seconds(header, self._clock.now())
                pause = self._retry.pause(attempt, status, after, repeatable=order.repeatable)
                if pause is None:
                    self._judge(order, answer, content)
            attempt += 1
            self._sleep(pause or 0.0)

    @contextmanager
    def _sent(self, order: _Order) -> Iterator[httpx.Response]:
        """The answer while it is open, and closed after that whatever happens."""
        answer = self._open(order)
        try:
            yield answer
        finally:
            answer.close()

    def _open(self, order: _Order) -> httpx.Response:
        """The answer's head; its body is still to be read. Raises Unreachable, Unusable."""
        http = self._channel.http()
        headers = {**order.headers, **self._authorization()}
        body: dict[str, Any] = {"content": order.body} if isinstance(order.body, bytes) else {"json": order.body}
        extensions = {}
        if isinstance(self._target, Https) and self._target.server_name is not None:
            extensions = {"sni_hostname": self._target.server_name}
        started = self._clock.monotonic()
        try:
            request = http.build_request(
                order.method,
                order.path,
                params=order.query,
                headers=headers,
                timeout=order.timeout,
                extensions=extensions,
                **body,
            )
            answer = http.send(request, stream=True)
        except httpx.TransportError as error:
            raise unreachable(self._target, error) from None
        except (UnicodeError, httpx.InvalidURL):  # bytes on a command line that are no text
            raise Unusable("an argument is not UTF-8 text") from None
        if self._on_call is not None:
            self._on_call(
                Call(
                    order.method,
                    request.url.raw_path.decode("ascii"),
                    answer.status_code,
                    self._clock.monotonic() - started,
                    answer.headers.get("x-request-id", "-"),
                )
            )
        return answer

    def _authorization(self) -> dict[str, str]:
        credential = self._target.credential if isinstance(self._target, Https) else None
        return {} if credential is None else {"Authorization": f"Bearer {credential.bearer().reveal()}"}

    def _content(self, answer: httpx.Response, until: float) -> bytes:
        content = bytearray()
        for chunk in self._chunks(answer):
            content += chunk
            if len(content) > MOST_BYTES:
                raise NotTheApi(self.where, f"its answer is larger than {MOST_BYTES} bytes")
            if self._clock.monotonic() > until:  # httpx bounds each piece, of which there may be many
                raise unreachable(self._target, TimeoutError())
        return bytes(content)

    def _chunks(self, answer: httpx.Response) -> Iterator[bytes]:
        """As they were sent: what is compressed may be larger than any bound, and nobody asked for it."""
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise NotTheApi(self.where, "its answer is encoded")
        try:
            yield from answer.iter_raw()
        except httpx.TransportError as error:
            raise unreachable(self._target, error) from None

    def _accepted(self, answer: Answer) -> Answer:
        """Raises ApprovalNeeded for what waits for somebody else."""
        if answer.status != 202:
            return answer
        document = answer.json()
        found = document.get("id") if isinstance(document, dict) else None
        if not isinstance(found, str):
            raise NotTheApi(self.where)
        raise ApprovalNeeded(found, document)

    def _judge(self, order: _Order, answer: httpx.Response, content: bytes) -> NoReturn:
        status = answer.status_code
        if status < 400:
            raise NotTheApi(self.where, "it answers with a redirect, which is not followed")
        if status >= 500 and answer.headers.get("content-type", "").startswith("text/plain"):
            raise BrokenOff(self.where, status)
        raise refusal(Answer(status, content, self.where), order.path)


def part(text: str) -> str:
    """`text` as one part of a path, slashes and all."""
    return quote(text, safe="", errors="surrogateescape")
