"""uvicorn's HTTP/1.1 protocol with what it lacks: the kernel's word on who calls, and bounds on requests."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sds.http.tls import client_chain
from sds.net.process import peer_credentials


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket (SO_PEERCRED), as it was when it connected."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """`request_seconds`: how long a client may take to send one whole request; `keep_alive_seconds`: to begin the next.

    `concurrency`: connections; more are closed at once. `handshake_seconds`: how long a TLS handshake may take.
    """

    header_bytes: int = 32 * 1024
    body_bytes: int = 32 * 1024 * 1024
    concurrency: int = 256
    request_seconds: float = 30.0
    keep_alive_seconds: int = 60
    handshake_seconds: float = 10.0


class _TooLarge(Exception):
    """Ends parsing; httptools wraps it and uvicorn then calls `send_400_response`."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `unix` connections carry their Peer in ``scope["state"]["peer"]``; and in ``["connection"]`` the
    name that the client bound its end to, which a relay does. Over TLS ``["client_chain"]`` is what the client has
    shown of certificates (DER, leaf first); nothing in it may be believed without being verified again.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HttpLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._unfinished_bytes = 0  # received since the last request ended, until its successor's headers are complete
        self._header_bytes = 0  # of the request being read
        self._body_bytes = 0
        self._in_body = False
        self._problem = b""  # the status line for what a callback refused
        self._refused = False  # closed before anything was read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        if len(self.connections) >= self._limits.concurrency:
            self._refused = True
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            try:
                pid, uid, gid = peer_credentials(sock)
            except OSError:
                self._refused = True
                transport.abort()
                return
            self.app_state = {**self.app_state, "peer": Peer(pid, uid, gid), "connection": _abstract_name(sock)}
        chain = client_chain(transport.get_extra_info("ssl_object"))
        if chain:
            self.app_state = {**self.app_state, "client_chain": chain}
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if not self._in_body:
            self._unfinished_bytes += len(data)
        super().data_received(data)
        # A header that never ends is not told of by the parser, which meanwhile keeps it all.
        if not self._in_body and self._unfinished_bytes > 2 * self._limits.header_bytes:
            self._refuse(b"431 Request Header Fields Too Large")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """How uvicorn answers anything the parser or a callback of ours refused."""
        self._refuse(self._problem or b"400 Bad Request")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._body_bytes = 0
        if self._deadline is None:
            self._await_request()

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._problem = b"413 Content Too Large"
            raise _TooLarge
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._unfinished_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def _count_header(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > self._limits.header_bytes:
            self._problem = b"431 Request Header Fields Too Large"
            raise _TooLarge

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self._limits.request_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.flow.read_paused:  # it is we who do not read
            self._await_request()
            return
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """Answer if nothing was answered yet, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


def _abstract_name(sock: socket.socket) -> str:
    """An abstract name (unix(7)) in the form in which Relay.lookup takes it; empty where the client bound none."""
    name = sock.getpeername()
    return f"unix-abstract:{name[1:].decode(errors='replace')}" if isinstance(name, bytes) and name[:1] == b"\0" else ""
