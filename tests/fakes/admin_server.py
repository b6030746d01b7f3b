"""The admin API over the fake services on a real Unix socket, served from a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.types import ASGIApp, Receive, Scope, Send

from sds.admin.app import create_app
from sds.admin.gate import Limits
from sds.admin.login.limits import DoorLimits, DoorRates
from sds.clock import Clock
from sds.http.unix import HttpServer, serve_unix
from sds.net.limits import Rate
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock

T = TypeVar("T")


def _authority() -> bytes:
    """A self-signed certificate, DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


AUTHORITY = _authority()


def plenty(clock: Clock) -> DoorLimits:
    """Limits that no test meets by accident."""
    rate = Rate(1000.0, 1000)
    return DoorLimits(DoorRates(rate, rate, rate), clock.monotonic)


class Running:
    """A served fake: the socket, the services behind it (new ones after `reset`), and work on their loop."""

    def __init__(self, socket: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.socket = socket
        self.fakes: FakeServices
        self._app: ASGIApp
        self._loop = loop

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    def reset(
        self, *, clock: Clock | None = None, allowed: frozenset[int] | None = None, limits: Limits | None = None
    ) -> None:
        """Start over with empty services."""
        clock = clock or FakeClock()
        uids = frozenset({os.getuid()}) if allowed is None else allowed

        async def make() -> None:
            self.fakes = FakeServices(clock.now, (AUTHORITY,))
            self._app = create_app(
                self.fakes.services, allowed_uids=uids, callers=plenty(clock), limits=limits, clock=clock
            )

        self.do(make)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@contextmanager
def admin_server(socket: Path) -> Generator[Running]:
    """Serve until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="admin server")
    thread.start()
    try:
        running = Running(socket, loop)
        running.reset()

        async def start() -> HttpServer:
            server = serve_unix(running, socket)
            await server.start()
            return server

        server = running.do(start)
        try:
            yield running
        finally:
            running.do(lambda: server.stop(1.0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
