"""Serves an ASGI application on a Unix socket that we bound and guard, or on plain TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from sds.http.protocol import BoundedProtocol, HttpLimits
from sds.net.listen import UnixListener, listen_tcp, listen_unix

_DEFAULTS = HttpLimits()
_TURNS = 5
"""Of the event loop, within which an accepted socket becomes a connection."""
_SHUTDOWN_SECONDS = 2.0
"""How long a client may take to answer the end of TLS."""


class HttpServer:
    """One uvicorn server without its signal handlers, logs and start-up rituals."""

    def __init__(
        self,
        app: Any,
        sockets: Sequence[socket.socket],
        *,
        limits: HttpLimits = _DEFAULTS,
        listener: UnixListener | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=partial(BoundedProtocol, limits=limits),  # type: ignore[arg-type]  # uvicorn only calls it
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # else everyone who sends rubbish writes to our log
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # keeping it right would take ten wakes a second
            timeout_keep_alive=limits.keep_alive_seconds,
        )
        self._sockets = list(sockets)
        self._listener = listener
        self._server = _Embedded(config, tls, limits.handshake_seconds)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve until `stop`. Returns once connections are accepted."""
        self._task = asyncio.create_task(self._server.serve(self._sockets), name="http server")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Stop accepting, give running requests `grace_seconds`, then cut them."""
        if self._listener is not None:
            self._listener.unlink()
        if self._task is None:
            for sock in self._sockets:
                sock.close()
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        await self._accept_no_more()
        self._server.leave.set()
        await self._task

    async def _accept_no_more(self) -> None:
        """What was accepted in the last moment becomes a connection first, which the end then closes like all others.

        Else CPython before 3.12 drops it unclosed: its server is closed already when its transport is made.
        """
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            with contextlib.suppress(RuntimeError, ValueError):  # another loop's way of listening; closed already
                loop.remove_reader(sock)
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    @property
    def port(self) -> int:
        """The TCP port that was bound."""
        port: int = self._sockets[0].getsockname()[1]
        return port


def serve_unix(
    app: Any, path: Path, *, mode: int = 0o600, limits: HttpLimits = _DEFAULTS, tls: ssl.SSLContext | None = None
) -> HttpServer:
    """A server on a Unix socket with exactly these permissions. Raises sds.net.errors.AddressUnusable.

    With `tls` it speaks HTTPS, which only makes sense behind a relay from the network.
    """
    listener = listen_unix(path, mode=mode)
    return HttpServer(app, [listener.socket], limits=limits, listener=listener, tls=tls)


def serve_tcp(app: Any, host: str, port: int, *, limits: HttpLimits = _DEFAULTS) -> HttpServer:
    """A server on plain TCP (0: any port). Raises sds.net.errors.AddressUnusable."""
    return HttpServer(app, listen_tcp(host, port), limits=limits)


class _Embedded(uvicorn.Server):
    """Says when it serves, and leaves signals to the process it is part of."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None, handshake_seconds: float) -> None:
        super().__init__(config)
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self.ready = asyncio.Event()
        self.leave = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)  # what is sent with every answer
        await self.leave.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None:
            await super().startup(sockets)
        else:
            await self._start_tls(self._tls, sockets or ())
        self.ready.set()

    async def _start_tls(self, tls: ssl.SSLContext, sockets: Sequence[socket.socket]) -> None:
        """As uvicorn does it, which knows no bound on the time of a handshake."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        make: Any = self.config.http_protocol_class
        connection = partial(
            make,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers = [
            await loop.create_server(
                connection,
                sock=sock,
                ssl=tls,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                backlog=self.config.backlog,
            )
            for sock in sockets
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
