"""One public TCP address: relays that know who connects, in front of a grpc.aio server on a private Unix socket.

Two of these stand side by side, because grpcio either demands a client certificate or never asks for one: `node` (mTLS)
and `attest` (the server's TLS alone).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from attestation.spiffe_id import SpiffeId
from sds.clock import Clock
from sds.net.admission import AddressAdmission
from sds.net.limits import Rate, TokenBuckets
from sds.net.listen import listen_tcp
from sds.net.relay import Connection, Relay
from sds.net.seams import RelayObserver
from sds.net.tcp import TcpPeer, TcpPeers
from sds.server.rpc import Context, Service
from sds.server.tls import RotatingTls
from sds.store.records import AgentRecord

_PENDING_CALLS = 100_000
"""grpcio refuses calls at random beyond 1,000 waiting ones; our own limits say which and why instead."""
_METADATA_BYTES = 16_384
_MIN_PING_MS = 5_000
_LAST_WORD = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Limits of one listener; `docs/config.md` explains each (tables `limits` and `grpc`)."""

    connection_rate: Rate
    max_connections: int
    max_connections_per_address: int
    max_message_bytes: int
    max_concurrent_calls: int
    handshake_timeout: timedelta
    keepalive: timedelta
    keepalive_timeout: timedelta
    reflection: bool


class AgentConnections:
    """Which connections an agent has been seen on, so that they can be cut when it is banned."""

    def __init__(self) -> None:
        self._by_agent: dict[SpiffeId, set[Connection[TcpPeer]]] = {}
        self._known: set[int] = set()

    def seen(self, agent_id: SpiffeId, connection: Connection[TcpPeer]) -> None:
        """A call of `agent_id` came over `connection`. Cheap when it is not the first."""
        if id(connection) in self._known:
            return
        self._known.add(id(connection))
        self._by_agent.setdefault(agent_id, set()).add(connection)
        connection.on_close(lambda: self._forget(agent_id, connection))

    def agent_changed(self, agent_id: SpiffeId, record: AgentRecord | None) -> None:
        """Cut off an agent that was banned or deleted; a moment later, so that its streams can be told why first.

        What it opens meanwhile stays: it is only seen if the agent has been let in again.
        """
        if agent_id in self._by_agent and (record is None or record.banned):
            asyncio.get_running_loop().call_later(_LAST_WORD, _close_all, tuple(self._by_agent[agent_id]), "banned")

    def _forget(self, agent_id: SpiffeId, connection: Connection[TcpPeer]) -> None:
        self._known.discard(id(connection))
        connections = self._by_agent.get(agent_id)
        if connections is not None:
            connections.discard(connection)
            if not connections:
                del self._by_agent[agent_id]


def _close_all(connections: Iterable[Connection[TcpPeer]], reason: str) -> None:
    for connection in connections:
        connection.close(reason)


class Health(health.aio.HealthServicer):  # type: ignore[misc] # grpc_health has no types
    """The standard's service (grpc.health.v1), whose watches end with the listener instead of holding it up."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[None]] = set()
        self._ended = False

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802 - gRPC's name
        """As grpc_health does it, until `end`: then a last word, and UNAVAILABLE."""
        if not self._ended:
            watch = asyncio.create_task(super().Watch(request, context))
            self._watches.add(watch)
            try:
                await asyncio.wait({watch})
            finally:
                watch.cancel()
                self._watches.discard(watch)
            if not watch.cancelled():  # only ever because of an error
                await watch
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD):  # for one that does not read
                await context.write(health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")

    async def end(self) -> None:
        """Nothing is served here any more: say so to whoever asks, and end all watches."""
        self._ended = True
        watches = tuple(self._watches)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await self.enter_graceful_shutdown()


class Listener:
    """Built before anything is served; `start` binds and serves, `stop` drains."""

    def __init__(
        self,
        name: str,
        services: Sequence[Service],
        tls: RotatingTls,
        folder: Path,
        options: ListenerOptions,
        observer: RelayObserver[TcpPeer],
        clock: Clock,
    ) -> None:
        self.name = name
        self._folder = folder
        self._tls = tls
        self._options = options
        self._observer = observer
        self._clock = clock
        self._relays: list[Relay[TcpPeer]] = []
        self._health = Health()
        self._services = services
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Serve on host:port (0: any free port); the port. Raises sds.net.errors.AddressUnusable."""
        sockets = listen_tcp(host, port)
        backend = self._folder / f"{self.name}.sock"
        self._server = await self._start_backend(backend)
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
                observer=self._observer,
                clock=self._clock,
            )
            self._relays.append(relay)
            relay.start()
        return _port(sockets[0])

    async def _start_backend(self, backend: Path) -> grpc.aio.Server:
        server = grpc.aio.server(options=_channel_options(self._options))
        names = [health.SERVICE_NAME]
        for service in self._services:
            server.add_generic_rpc_handlers(service.handlers)
            names.append(service.name)
            await self._health.set(service.name, health_pb2.HealthCheckResponse.SERVING)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        add_HealthServicer_to_server(self._health, server)
        if self._options.reflection:
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
        server.add_secure_port(f"unix:{backend}", self._tls.credentials())
        await server.start()
        return server

    def connection(self, peer: str) -> Connection[TcpPeer] | None:
        """The live connection that grpcio calls `peer`, if it came through this listener."""
        for relay in self._relays:
            found = relay.lookup(peer)
            if found is not None:
                return found
        return None

    @property
    def connections(self) -> int:
        return sum(len(relay) for relay in self._relays)

    async def drain(self) -> None:
        """Accept no more, and tell who asks for our health; what is open goes on."""
        for relay in self._relays:
            relay.stop_accepting()
        await self._health.end()

    async def stop(self, grace: timedelta) -> None:
        """Let calls that are under way finish for `grace`, then cut what is left."""
        await self.drain()
        if self._server is not None:
            await self._server.stop(grace.total_seconds())
        for relay in self._relays:
            relay.close()


def find_connection(listeners: Sequence[Listener]) -> Callable[[str], Connection[TcpPeer] | None]:
    """A look-up over several listeners."""

    def find(peer: str) -> Connection[TcpPeer] | None:
        for listener in listeners:
            found = listener.connection(peer)
            if found is not None:
                return found
        return None

    return find


def _channel_options(options: ListenerOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", -1),  # a snapshot is as large as an agent's entries are
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.max_concurrent_streams", options.max_concurrent_calls),
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_CALLS),
        ("grpc.server_handshake_timeout_ms", _ms(options.handshake_timeout)),
        ("grpc.keepalive_time_ms", _ms(options.keepalive)),
        ("grpc.keepalive_timeout_ms", _ms(options.keepalive_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Whatever keepalive agents are configured with is welcome down to this; who pings faster is sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_MS),
        ("grpc.http2.max_ping_strikes", 3),
    ]


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])
