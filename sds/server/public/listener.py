"""One public HTTP address: relays that bound who connects, in front of an HTTP server on a private Unix socket.

The same relay as before the gRPC listeners, so the same limits hold: connections, rates, addresses, handshakes.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from sds.clock import Clock
from sds.config import Address
from sds.http.protocol import HttpLimits
from sds.http.tls import rotating_context
from sds.http.unix import HttpServer, serve_unix
from sds.net.admission import AddressAdmission
from sds.net.limits import TokenBuckets
from sds.net.listen import listen_tcp
from sds.net.relay import Relay
from sds.net.seams import RelayObserver
from sds.net.tcp import TcpPeer, TcpPeers
from sds.server.listener import ListenerOptions
from sds.server.public.app import ANSWER_SECONDS, PublicApp, PublicObserver

HEADER_BYTES = 16 * 1024
REQUEST_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15


class Certificate(Protocol):
    """Where a listener's TLS comes from; `context` is quick and never raises, `run` goes on until cancelled."""

    def context(self) -> ssl.SSLContext: ...

    async def run(self) -> None: ...


class PublicListener:
    """Built before anything is served; `start` binds and serves, `drain` and `stop` end it."""

    def __init__(
        self,
        name: str,
        address: Address,
        routes: Sequence[BaseRoute],
        *,
        certificate: Certificate | None,
        body_bytes: int,
        folder: Path,
        options: ListenerOptions,
        observer: PublicObserver,
        connections: RelayObserver[TcpPeer],
        clock: Clock,
        answer_seconds: float = ANSWER_SECONDS,
        app: Callable[[Callable[[str], str]], ASGIApp] | None = None,
        ask_client: bool = False,
    ) -> None:
        """Without a certificate it speaks plain HTTP. `body_bytes`: of a POST, where a route takes one.

        `app`: what is served instead of `routes`; it is given what knows the address behind a connection. `ask_client`:
        whether a client may show a certificate.
        """
        self.name = name
        self.address = address
        self.certificate = certificate
        self._app: ASGIApp = (
            PublicApp(routes, observer, self._address_of, answer_seconds) if app is None else app(self._address_of)
        )
        self._ask_client = ask_client
        self._body_bytes = body_bytes
        self._folder = folder
        self._options = options
        self._connections = connections
        self._clock = clock
        self._relays: list[Relay[TcpPeer]] = []
        self._http: HttpServer | None = None

    async def start(self) -> int:
        """Serve; the port. Raises sds.net.errors.AddressUnusable."""
        sockets = listen_tcp(self.address.host, self.address.port)
        backend = self._folder / f"{self.name}.sock"
        self._http = serve_unix(self._app, backend, limits=self._limits(), tls=self._tls())
        await self._http.start()
        admission = AddressAdmission(
            TokenBuckets(self._options.connection_rate),
            total=self._options.max_connections,
            per_address=self._options.max_connections_per_address,
            clock=self._clock,
        )
        for listening in sockets:
            relay = Relay(
                listening,
                backend,
                peers=TcpPeers(),
                admission=admission,
                observer=self._connections,
                clock=self._clock,
            )
            self._relays.append(relay)
            relay.start()
        return int(sockets[0].getsockname()[1])

    async def run(self) -> None:
        """Keep the certificate fresh, until cancelled. Only where there is one."""
        if self.certificate is not None:
            await self.certificate.run()

    def drain(self) -> None:
        """Accept no more; what is open goes on."""
        for relay in self._relays:
            relay.stop_accepting()

    async def stop(self, grace: timedelta) -> None:
        """Let requests that are under way finish for `grace`, then cut what is left."""
        self.drain()
        if self._http is not None:
            await self._http.stop(grace.total_seconds())
        for relay in self._relays:
            relay.close()

    def _limits(self) -> HttpLimits:
        return HttpLimits(
            header_bytes=HEADER_BYTES,
            body_bytes=self._body_bytes,
            concurrency=self._options.max_connections,
            request_seconds=REQUEST_SECONDS,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            handshake_seconds=self._options.handshake_timeout.total_seconds(),
        )

    def _tls(self) -> ssl.SSLContext | None:
        return (
            None
            if self.certificate is None
            else rotating_context(self.certificate.context, ask_client=self._ask_client)
        )

    def _address_of(self, name: str) -> str:
        """Of the caller whose connection the relay gave this name."""
        for relay in self._relays:
            connection = relay.lookup(name)
            if connection is not None:
                return connection.peer.host
        return ""
