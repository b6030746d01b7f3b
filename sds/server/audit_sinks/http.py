"""Sinks that are reached by HTTP: a signed webhook, and OpenTelemetry's logs."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import httpx

from ca.masked import Masked
from sds import __version__
from sds.audit.sinks import otlp, webhook
from sds.audit.sinks.items import Item
from sds.http.no_tls import NO_TLS
from sds.logs import get_logger
from sds.server.audit_sinks.outlet import SinkFailed, TooLarge

_MAX_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """`tls` is None for plain HTTP, which is for this host alone. `bearer` goes into `Authorization`."""

    url: str
    seconds: float
    tls: ssl.SSLContext | None = None
    bearer: Masked[bytes] | None = field(default=None, repr=False)


class Protocolled(Protocol):
    """What is said, and what the answer means."""

    def request(self, items: Sequence[Item]) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        ...

    def answered(self, unverified_body: bytes) -> None:
        """Raises SinkFailed."""
        ...


class HttpOutlet:
    """Implements Outlet. Redirects are not followed: only what was configured is told anything."""

    def __init__(self, place: HttpPlace, protocol: Protocolled) -> None:
        self._place = place
        self._protocol = protocol
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, items: Sequence[Item]) -> None:
        content, headers = await asyncio.to_thread(self._protocol.request, items)  # many events are much work
        try:
            async with asyncio.timeout(self._place.seconds):
                self._protocol.answered(await self._post(content, headers))
        except TimeoutError:
            await self.close()
            raise SinkFailed(f"the receiver has not answered within {self._place.seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            await self.close()
            raise SinkFailed(_reason(error)) from None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _post(self, content: bytes, headers: dict[str, str]) -> bytes:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=self._place.tls or NO_TLS,
                trust_env=False,
                timeout=self._place.seconds,
                headers={"User-Agent": f"sds/{__version__}", "Accept-Encoding": "identity"},
                limits=httpx.Limits(max_connections=1),
            )
        if self._place.bearer is not None:
            headers["Authorization"] = f"Bearer {self._place.bearer.reveal().decode('latin-1')}"
        async with self._client.stream("POST", self._place.url, content=content, headers=headers) as answer:
            if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                raise TooLarge("the receiver says that the delivery is too large (413)")
            if not answer.is_success:
                raise SinkFailed(f"the receiver answered {answer.status_code}")
            found = bytearray()
            async for part in answer.aiter_raw():
                found += part
                if len(found) > _MAX_ANSWER:
                    raise SinkFailed(f"the receiver's answer has more than {_MAX_ANSWER} bytes")
            return bytes(found)


class Webhook:
    """Implements Protocolled. Any 2xx is a yes."""

    def __init__(self, sink: str, key: Masked[bytes], now: Callable[[], datetime]) -> None:
        self._sink = sink
        self._key = key
        self._now = now

    def request(self, items: Sequence[Item]) -> tuple[bytes, dict[str, str]]:
        content = webhook.body(self._sink, items)
        signed = webhook.signed_headers(self._key, int(self._now().timestamp()), content)
        return content, {"Content-Type": "application/json", **signed}

    def answered(self, unverified_body: bytes) -> None:
        del unverified_body  # the status says it all


class Otlp:
    """Implements Protocolled (OTLP/HTTP). What a receiver takes and rejects must not come again; it is logged."""

    def __init__(self, sink: str, host: str, now: Callable[[], datetime]) -> None:
        self._host = host
        self._now = now
        self._log = get_logger(__name__, sink=sink)

    def request(self, items: Sequence[Item]) -> tuple[bytes, dict[str, str]]:
        content = otlp.request(items, __version__, self._host, self._now())
        return content, {"Content-Type": "application/x-protobuf"}

    def answered(self, unverified_body: bytes) -> None:
        try:
            otlp.check_answer(unverified_body)
        except otlp.Rejected as error:
            self._log.error("a sink of the audit log throws away what it is told", reason=str(error))
        except otlp.NotAnAnswer as error:
            raise SinkFailed(str(error)) from None


def _reason(error: Exception) -> str:
    """What lies below the library's error, in words that hold nothing of the other side's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the receiver's certificate does not verify: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or 'unknown'}"
        if isinstance(cause, socket.gaierror):
            return "the receiver's name cannot be resolved"
        if isinstance(cause, OSError) and cause.errno:
            return f"the receiver cannot be reached: {os.strerror(cause.errno)}"
        cause = cause.__cause__ or cause.__context__
    return f"no usable answer ({type(error).__name__})"
