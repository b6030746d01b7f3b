"""The agent, put together in the order in which its parts need each other. Nothing is made anywhere else."""

from __future__ import annotations

import asyncio
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from attestation.catalog import WorkloadParts, workload_attestor
from ca.nobody import pem_of_nobody
from ca.serial import random_serial
from sds import __version__
from sds.agent import options
from sds.agent.agent import Agent, Parts
from sds.agent.cache import Cache
from sds.agent.datadir import DataFolder
from sds.agent.doubts import BundleReader
from sds.agent.enrol import Enroller, Enrolment
from sds.agent.errors import HOW_TO_ATTEST, DataFolderUnusable, IdentityUnusable
from sds.agent.health import checks
from sds.agent.identity import AgentIdentity
from sds.agent.issuer import Issuer
from sds.agent.jwt.tokens import JwtSvids
from sds.agent.local_api import local_api
from sds.agent.memory import Subscriptions
from sds.agent.observe import ConnectionObserver, ServerObserver, StreamObserver, WorkloadEvents
from sds.agent.peer import LocalCallers
from sds.agent.renew import OwnSvid
from sds.agent.report import Reporter
from sds.agent.sockets import Sockets, closed_folder, open_sockets
from sds.agent.staples import Stapler
from sds.agent.status import AgentStatus, Constants
from sds.agent.upstream import Upstream
from sds.clock import Clock
from sds.config import AgentConfig
from sds.delivery.places import Places
from sds.delivery.registry import StreamRegistry
from sds.delivery.service import DeliveryService, server_options
from sds.delivery.session import Surroundings
from sds.delivery.workload_api import WorkloadApi
from sds.http.ops import ops_routes
from sds.http.unix import HttpServer
from sds.logs import Logger, get_logger
from sds.metrics import AgentMetrics
from sds.net.admission import DESCRIPTORS_PER_CONNECTION, LocalAdmission
from sds.net.folder import private_folder
from sds.net.limits import Rate, TokenBuckets
from sds.net.process import LocalProcess, ProcessTable, find_process, read_start_time
from sds.net.relay import Relay

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Core:
    """What everything else rests on."""

    config: AgentConfig
    clock: Clock
    log: Logger
    folder: DataFolder
    registry: CollectorRegistry
    metrics: AgentMetrics
    cache: Cache
    upstream: Upstream
    streams: StreamRegistry
    reporter: Reporter
    executors: tuple[ThreadPoolExecutor, ThreadPoolExecutor]


async def build(config: AgentConfig, clock: Clock, folder: DataFolder, descriptors: int) -> Agent:
    """An agent that is ready to start; it attests here if it has to. `descriptors`: how many it may open.

    Raises AgentError, NetError, OSError. The sockets come first: a token must not be spent on a start that then fails.
    """
    log = get_logger("sds.agent")
    sockets = open_sockets(config)
    try:
        if (closed := closed_folder(config.socket, config.socket_mode)) is not None:
            log.warning(
                "sidecars of other users cannot reach the socket, for only its owner may pass this folder; put the "
                "socket elsewhere with --socket (e.g. /run/sds/sds.sock), or set socket_mode to 0600 if that is meant",
                folder=str(closed),
                socket=str(config.socket),
            )
        enroller, identity, returning = await _identity(config, clock, folder, log)
        core = _core(config, clock, folder, log, enroller, identity, returning=returning)
        return _assemble(core, sockets, descriptors)
    except BaseException:
        sockets.close()
        raise


def _assemble(core: Core, sockets: Sockets, descriptors: int) -> Agent:
    config, clock, log = core.config, core.clock, core.log
    backoff, observer = options.backoff(config), ServerObserver(core.metrics)
    reader = BundleReader(core.executors[0], log)
    issuer = Issuer(
        core.cache, core.upstream, reader, backoff, options.issuer(config), observer, clock, core.executors[0], log
    )
    own = OwnSvid(core.upstream, reader, backoff, config.svid.replace_within, observer, clock, log)
    subscriptions = _subscriptions(core)
    private = private_folder(core.folder.path)
    relay = _relay(core, sockets.public.socket, private, descriptors)
    callers = LocalCallers(
        relay.lookup,
        workload_attestor(WorkloadParts(log=log, now=clock.now, unix=options.unix_attestor(config))),
        core.cache,
        subscriptions,
        WorkloadEvents(core.metrics, core.reporter, clock, log),
        clock,
        core.executors[1],
        options.peers(config),
    )
    tokens = JwtSvids(
        core.cache, core.upstream, core.cache.bundles_for, backoff, options.tokens(config), observer, clock, log
    )
    core.metrics.tokens.set_function(lambda: len(tokens))
    stapler = Stapler(core.cache, core.upstream, config.svid.ocsp_staple, config.upstream.sign_batch, clock, log)
    backend, workload_api = _backend(core, callers, private, tokens)
    parts = Parts(
        backend=backend,
        workload_api=workload_api,
        relay=relay,
        listener=sockets.public,
        http=_http(core, sockets, own, callers),
        loops=[
            ("the connection to the server", core.upstream.run()),
            ("issuing", issuer.run()),
            ("JWT-SVIDs", tokens.run()),
            ("OCSP answers", stapler.run()),
            ("renewal of this agent's SVID", own.run()),
            ("attestation again", callers.run()),
            ("delivery reports", core.reporter.run()),
            ("remembered subscriptions", subscriptions.run()),
        ],
        streams=core.streams,
        subscriptions=subscriptions,
        folder=core.folder,
        private_folder=private,
        executors=core.executors,
        log=log,
    )
    return Agent(parts, config.drain_timeout.total_seconds())


async def _identity(
    config: AgentConfig, clock: Clock, folder: DataFolder, log: Logger
) -> tuple[Enroller, AgentIdentity, bool]:
    """The stored SVID if it is still good, else a new one by attestation; whether one was stored. Raises AgentError."""
    stored: AgentIdentity | None = None
    try:
        stored = folder.load_identity()
    except IdentityUnusable as error:
        if config.join_token_file is None:
            raise IdentityUnusable(f"{error}; {HOW_TO_ATTEST}") from None
        log.warning("this agent's identity is damaged; attesting anew", reason=str(error))
    enroller = Enroller(
        Enrolment(str(config.attest_server), config.trust_bundle, config.join_token_file, folder.load_identity),
        options.link(config),
        options.backoff(config),
        clock,
        log,
    )
    if stored is not None and not stored.expired(clock.now()):
        log.info("using the stored identity", spiffe_id=str(stored.svid.spiffe_id))
        return enroller, stored, True
    if stored is not None:
        log.warning("the stored SVID has expired", not_after=stored.svid.not_after.isoformat())
    identity = await enroller.first()
    folder.save_identity(identity)
    log.info("attested", spiffe_id=str(identity.svid.spiffe_id), not_after=identity.svid.not_after.isoformat())
    return enroller, identity, stored is not None


def _core(
    config: AgentConfig,
    clock: Clock,
    folder: DataFolder,
    log: Logger,
    enroller: Enroller,
    identity: AgentIdentity,
    *,
    returning: bool,
) -> Core:
    registry = CollectorRegistry()
    metrics = AgentMetrics(registry)
    cache = Cache(clock, options.names(config), pem_of_nobody(clock.now(), random_serial(secrets.token_bytes)))
    run_id = secrets.token_hex(6)
    streams = StreamRegistry(run_id, clock)
    observer = ServerObserver(metrics)

    async def save(identity: AgentIdentity) -> None:
        try:
            await asyncio.to_thread(folder.save_identity, identity)
        except DataFolderUnusable as error:
            log.warning("this agent's identity could not be saved; a restart would use an older one", reason=str(error))

    upstream = Upstream(
        str(config.server),
        identity,
        cache,
        save=save,
        enrol=enroller.again,
        options=options.link(config),
        backoff=options.backoff(config),
        observer=observer,
        clock=clock,
        log=log,
    )
    reporter = Reporter(
        streams,
        upstream,
        run_id,
        interval=config.upstream.report_interval,
        queue=config.upstream.report_queue,
        silent_for=config.upstream.sidecars_return if returning else timedelta(0),
        backoff=options.backoff(config),
        observer=observer,
        clock=clock,
        log=log,
    )
    upstream.on_bundle(reporter.touch)
    executors = (
        ThreadPoolExecutor(2, thread_name_prefix="keys"),
        ThreadPoolExecutor(min(config.limits.max_attestations, 8), thread_name_prefix="attest"),
    )
    return Core(config, clock, log, folder, registry, metrics, cache, upstream, streams, reporter, executors)


def _relay(core: Core, listening: socket.socket, private: Path, descriptors: int) -> Relay[LocalProcess]:
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
        private / "grpc.sock",
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


def _backend(core: Core, callers: LocalCallers, private: Path, tokens: JwtSvids) -> tuple[grpc.aio.Server, WorkloadApi]:
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
    server.add_insecure_port(f"unix:{private / 'grpc.sock'}")
    return server, workload_api


def _subscriptions(core: Core) -> Subscriptions:
    subscriptions = Subscriptions(
        core.folder,
        boot_id=_BOOT_ID.read_text().strip(),
        start_time_of=read_start_time,
        max_processes=core.config.sds.max_remembered,
        log=core.log,
    )
    subscriptions.load()
    return subscriptions


def _http(core: Core, sockets: Sockets, own: OwnSvid, callers: LocalCallers) -> list[HttpServer]:
    """The admin socket, and the health listener where one is configured."""
    started_at = core.clock.now()
    constants = Constants(__version__, str(core.config.server), str(core.config.socket), started_at)
    status = AgentStatus(constants, core.upstream, own, core.cache, core.streams, core.clock)
    core.metrics.watch_outage_budget(status.earliest_expiry, core.clock.now)
    core.metrics.svids.set_function(lambda: len(core.cache.held))
    core.metrics.svids_distrusted.set_function(lambda: len(core.cache.replace_at))
    ops = ops_routes(**checks(core.upstream, core.cache), registry=core.registry)
    api = local_api(status, callers, find_process, ops)
    servers = [HttpServer(api, [sockets.admin.socket], listener=sockets.admin)]
    if sockets.health:
        servers.append(HttpServer(Starlette(routes=ops), sockets.health))
    return servers
