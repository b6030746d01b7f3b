"""What the node's processes talk to: the relay, SDS and the Workload API behind it, and the agent's own HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import grpc
from starlette.applications import Starlette

from attestation.catalog import WorkloadParts, workload_attestor
from attestation.workload.container import Containers
from sds import __version__
from sds.agent import options
from sds.agent.health import checks
from sds.agent.jwt.tokens import JwtSvids
from sds.agent.local_api import local_api
from sds.agent.memory import Subscriptions
from sds.agent.observe import ConnectionObserver, StreamObserver, WorkloadEvents
from sds.agent.peer import LocalCallers
from sds.agent.renew import OwnSvid
from sds.agent.secrets.desk import LocalSecrets
from sds.agent.sockets import Sockets
from sds.agent.status import AgentStatus, Constants
from sds.agent.wiring.core import Core
from sds.delivery.places import Places
from sds.delivery.service import DeliveryService, server_options
from sds.delivery.session import Surroundings
from sds.delivery.workload_api import WorkloadApi
from sds.http.ops import ops_routes
from sds.http.unix import HttpServer
from sds.net.admission import DESCRIPTORS_PER_CONNECTION, LocalAdmission
from sds.net.limits import Rate, TokenBuckets
from sds.net.process import LocalProcess, ProcessTable, find_process, read_start_time
from sds.net.relay import Connection, Relay

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
GRPC_SOCKET = "grpc.sock"


def local_relay(core: Core, listening: socket.socket, backend: Path, descriptors: int) -> Relay[LocalProcess]:
    """In front of `backend`, a socket in the private folder."""
    limits = core.config.limits
    left = options.connection_descriptors(descriptors)
    possible = left // DESCRIPTORS_PER_CONNECTION
    if possible < limits.max_connections:
        core.log.warning(
            "fewer connections than configured are possible with so few open files",
            possible=possible,
            files=descriptors,
        )
    return Relay(
        listening,
        backend,
        peers=ProcessTable(asyncio.get_running_loop()),
        admission=LocalAdmission(
            total=limits.max_connections,
            per_uid=limits.max_connections_per_uid,
            descriptors=left,
            clock=core.clock,
            buckets=TokenBuckets(Rate(limits.connection_rate, limits.connection_burst)),
        ),
        observer=ConnectionObserver(core.metrics, core.clock, core.log),
        clock=core.clock,
    )


def remembered_subscriptions(core: Core) -> Subscriptions:
    subscriptions = Subscriptions(
        core.folder,
        boot_id=_BOOT_ID.read_text().strip(),
        start_time_of=read_start_time,
        max_processes=core.config.sds.max_remembered,
        log=core.log,
    )
    subscriptions.load()
    return subscriptions


def local_callers(core: Core, relays: Sequence[Relay[LocalProcess]], subscriptions: Subscriptions) -> LocalCallers:
    def lookup(name: str) -> Connection[LocalProcess] | None:
        return next((found for relay in relays if (found := relay.lookup(name)) is not None), None)

    return LocalCallers(
        lookup,
        workload_attestor(WorkloadParts(log=core.log, now=core.clock.now, unix=options.unix_attestor(core.config))),
        core.cache,
        subscriptions,
        WorkloadEvents(core.metrics, core.reporter, core.clock, core.log),
        core.clock,
        core.executors[1],
        options.peers(core.config),
        Containers().id_of,
    )


def local_backend(
    core: Core, callers: LocalCallers, private: Path, tokens: JwtSvids
) -> tuple[grpc.aio.Server, WorkloadApi]:
    """What the relay talks to: SDS and, where it is enabled, the Workload API."""
    settings = options.delivery(core.config)
    places = Places(settings.streams)
    observer = StreamObserver(core.metrics, core.reporter, core.clock, core.log)
    service = DeliveryService(callers, observer, core.streams, core.clock, settings, places)
    surroundings = Surroundings(observer, core.streams, core.clock, settings.silent_grace)
    workload_api = WorkloadApi(callers, surroundings, places, tokens)
    # Probing for bandwidth, a ping after a request, is of no use on a Unix socket and a fifth of the relay's work.
    server = grpc.aio.server(options=[*server_options(settings), ("grpc.http2.bdp_probe", 0)])
    server.add_generic_rpc_handlers(service.handlers())
    if core.config.workload_api.enabled:
        server.add_generic_rpc_handlers(workload_api.handlers())
    server.add_insecure_port(f"unix:{private / GRPC_SOCKET}")
    return server, workload_api


def http_servers(
    core: Core, sockets: Sockets, own: OwnSvid, callers: LocalCallers, secrets: LocalSecrets
) -> list[HttpServer]:
    """The admin socket, and the health listener where one is configured."""
    started_at = core.clock.now()
    constants = Constants(__version__, str(core.config.server), str(core.config.socket), started_at)
    status = AgentStatus(constants, core.upstream, own, core.cache, core.streams, secrets, core.witness, core.clock)
    core.metrics.watch_outage_budget(status.earliest_expiry, core.clock.now)
    core.metrics.svids.set_function(lambda: len(core.cache.held))
    core.metrics.svids_distrusted.set_function(lambda: len(core.cache.replace_at))
    ops = ops_routes(**checks(core.upstream, core.cache), registry=core.registry)
    api = local_api(status, callers, find_process, ops)
    servers = [HttpServer(api, [sockets.admin.socket], listener=sockets.admin)]
    if sockets.health:
        servers.append(HttpServer(Starlette(routes=ops), sockets.health))
    return servers
