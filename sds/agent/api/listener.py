"""The API's socket: the same relay as before SDS, so that who calls is known and bounded in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sds.http.protocol import HttpLimits
from sds.http.unix import HttpServer, serve_unix
from sds.net.listen import UnixListener
from sds.net.process import LocalProcess
from sds.net.relay import Relay

BACKEND = "api.sock"
_HEADER_BYTES = 8 * 1024
_BODY_BYTES = 0
_KEEP_ALIVE_SECONDS = 3600
"""A connection stands for who wants something, and values are let go with it: it is its client's to end."""


def http_behind_relay(app: Any, folder: Path, connections: int) -> HttpServer:
    """The HTTP server on a private socket in `folder`. Raises AddressUnusable."""
    limits = HttpLimits(
        header_bytes=_HEADER_BYTES,
        body_bytes=_BODY_BYTES,
        concurrency=connections,
        keep_alive_seconds=_KEEP_ALIVE_SECONDS,
    )
    return serve_unix(app, folder / BACKEND, limits=limits)


class ApiListener:
    """Started after everything that it asks, and ended before it."""

    def __init__(self, listening: UnixListener, relay: Relay[LocalProcess], http: HttpServer) -> None:
        self._listening = listening
        self._relay = relay
        self._http = http

    async def start(self) -> None:
        await self._http.start()
        self._relay.start()

    def stop_accepting(self) -> None:
        """Take nobody new in; requests that are under way go on."""
        self._listening.unlink()
        self._relay.stop_accepting()

    async def stop(self, grace_seconds: float) -> None:
        """Let requests finish for so long, then cut what is left."""
        self.stop_accepting()
        await self._http.stop(grace_seconds)
        self._relay.close()
