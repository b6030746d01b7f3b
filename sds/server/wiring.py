"""The server, put together in the order in which its parts need each other. Nothing is made anywhere else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from ca.issuer import Issuer
from ca.serial import RandomSerials
from sds.admin.app import create_app
from sds.admin.gate import Limits as AdminLimits
from sds.admin.services import AdminServices
from sds.audit.event import AuditEvent
from sds.clock import Clock
from sds.config import ServerConfig, database_url
from sds.http.ops import ops_routes
from sds.http.protocol import HttpLimits
from sds.http.unix import HttpServer, serve_tcp, serve_unix
from sds.logs import get_logger
from sds.metrics import ServerMetrics
from sds.net.limits import Caps
from sds.rotation.scheduler import Scheduler
from sds.server import options
from sds.server.agent_records import AgentRecords
from sds.server.attest_api import SERVICE as ATTEST_SERVICE
from sds.server.attest_api import AttestApi
from sds.server.authority.authorities import Authorities
from sds.server.authority.custody import Custody, open_custody
from sds.server.authority.kek_file import KekFile
from sds.server.datadir import DataDir
from sds.server.enrolment import Enrolment
from sds.server.events import Events
from sds.server.follower import Bundles, Follower, load_facts
from sds.server.health import Health
from sds.server.housekeeping import Housekeeping, LastSeen
from sds.server.identity import AgentCaller, CallerCheck
from sds.server.issuance import Issuance
from sds.server.listener import AgentConnections, Listener, find_connection
from sds.server.node_api import SERVICE as NODE_SERVICE
from sds.server.node_api import NodeApi
from sds.server.own_svid import OwnSvid
from sds.server.refusals import RefusalLog
from sds.server.registry import Registry
from sds.server.reports import Reports
from sds.server.rpc import Service
from sds.server.server import Endpoint, Parts, Server
from sds.server.services.agents import AgentService, StreamService
from sds.server.services.audit import AuditService
from sds.server.services.common import Desk
from sds.server.services.entries import EntryService
from sds.server.services.trust import BundleService, KekService, TokenService
from sds.server.signing import BatchSigner
from sds.server.telemetry import ConnectionTelemetry, Telemetry
from sds.server.tls import RotatingTls
from sds.server.transactions import Metered, Transactions
from sds.store.schema import migrate, schema_status
from sds.store.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Core:
    """What everything else rests on."""

    config: ServerConfig
    clock: Clock
    events: Events
    telemetry: Telemetry
    store: Transactions
    custody: Custody
    authorities: Authorities
    registry: Registry
    follower: Follower


async def build(
    config: ServerConfig, clock: Clock, data_dir: DataDir, *, collectors: CollectorRegistry | None = None
) -> Server:
    """Everything but the listening. Raises what can be wrong with the parts, each error saying what to do:
    StoreError, KekFileUnusable, CaError, ConfigError, AddressUnusable.
    """
    collectors = collectors or CollectorRegistry()
    telemetry = Telemetry(ServerMetrics(collectors), clock)
    store = Metered(await asyncio.to_thread(_open_store, config, clock), telemetry, clock)
    try:
        core = await _core(config, clock, store, telemetry)
        return await _server(core, data_dir, collectors)
    except BaseException:
        await store.close()
        raise


def _open_store(config: ServerConfig, clock: Clock) -> Store:
    """Upgrade the schema, or refuse an older one where that is left to `sds db upgrade`. Blocks."""
    url = database_url(config.database).reveal()
    limits = options.store_limits(config)
    if config.database.migrate:
        before = migrate(url, limits)
        if not before.current:
            get_logger(__name__).info("upgraded the database schema", before=before.found or "empty", now=before.newest)
    schema_status(url, limits).check()
    return open_store(url, clock=clock, limits=limits)


async def _core(config: ServerConfig, clock: Clock, store: Transactions, telemetry: Telemetry) -> Core:
    """The key file, then the authority that it opens, then all that agents may have, in memory."""
    events = Events(socket.gethostname())
    custody = await open_custody(store, KekFile(config.kek.file, os.urandom), config.trust_domain, events, os.urandom)
    policy = options.authority_policy(config)
    authorities = Authorities(store, custody.manager, policy, RandomSerials(os.urandom), events, clock)
    await authorities.ensure()
    bundles = Bundles(config.trust_domain, config.ca.refresh_hint)
    registry = Registry(await load_facts(store, bundles), now=clock.now())
    follower = Follower(store, registry, bundles, clock)
    return Core(config, clock, events, telemetry, store, custody, authorities, registry, follower)


async def _server(core: Core, data_dir: DataDir, collectors: CollectorRegistry) -> Server:
    config, clock, store, registry = core.config, core.clock, core.store, core.registry
    issuer = Issuer(options.issuance_policy(config), RandomSerials(os.urandom))
    issuance = Issuance(store, issuer, core.authorities, core.events, clock, core.telemetry)
    own_svid = OwnSvid(issuance, lambda: registry.bundle, config.trust_domain, clock)
    await own_svid.renew()
    executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sds-signing")
    signer = _signer(core, issuer, executor)
    refusals = RefusalLog(_append(store), core.telemetry, clock, core.events)
    seen = LastSeen(clock)
    node, attest, reconfigure = _listeners(core, data_dir, issuance, signer, refusals, seen, own_svid)
    core.follower.on_authorities(lambda: _authorities_changed(core, own_svid))
    health = Health(store, core.authorities, lambda: own_svid.not_after, clock)
    parts = Parts(
        data_dir=data_dir,
        store=store,
        registry=registry,
        follower=core.follower,
        own_svid=own_svid,
        signer=signer,
        refusals=refusals,
        housekeeping=Housekeeping(store, registry, core.authorities, refusals, seen, core.telemetry.metrics, clock),
        scheduler=Scheduler(),
        health=health,
        node=Endpoint(node, config.listen),
        attest=Endpoint(attest, config.attest_listen),
        http=_http(core, health, collectors),
        reconfigure=reconfigure,
        executor=executor,
    )
    return Server(parts, config.grpc.drain_timeout)


def _signer(core: Core, issuer: Issuer, executor: ThreadPoolExecutor) -> BatchSigner:
    limits = core.config.limits
    return BatchSigner(
        core.store,
        core.registry,
        issuer,
        core.authorities,
        core.events,
        core.clock,
        executor,
        core.telemetry,
        max_batch=limits.max_signing_batch,
        max_waiting=limits.max_signing_queue,
        max_of_one_agent=max(limits.max_signing_queue // 4, limits.max_csr_batch),
        max_csr_bytes=limits.max_csr_bytes,
    )


def _listeners(
    core: Core,
    data_dir: DataDir,
    issuance: Issuance,
    signer: BatchSigner,
    refusals: RefusalLog,
    seen: LastSeen,
    own_svid: OwnSvid,
) -> tuple[Listener, Listener, Callable[[ServerConfig], None]]:
    """The two gRPC listeners, for agents with an SVID and for those without, and what can change their limits."""
    config, clock, telemetry, limits = core.config, core.clock, core.telemetry, core.config.limits
    connections = AgentConnections()
    listeners: list[Listener] = []
    find = find_connection(listeners)

    def address_of(peer: str) -> str:
        connection = find(peer)
        return "" if connection is None else connection.peer.host

    def note(caller: AgentCaller) -> None:
        seen.note(caller)
        connection = find(caller.peer)
        if connection is not None:
            connections.seen(caller.agent_id, connection)

    core.registry.on_agent(connections.agent_changed)
    enrolment = Enrolment(issuance, core.events, clock, config.trust_domain, limits.max_csr_bytes)
    attest_api = _attest_api(core, enrolment, refusals, address_of)
    node_api = _node_api(core, enrolment, signer, refusals, note, seen.note_version, address_of)
    for name, service, methods in (
        ("main", NODE_SERVICE, node_api.methods),
        ("attest", ATTEST_SERVICE, attest_api.methods),
    ):
        listeners.append(
            Listener(
                name,
                [Service(service, methods, telemetry, clock.monotonic)],
                RotatingTls(own_svid.current, client_certificate=name == "main"),
                data_dir.sockets,
                options.listener_options(config, known_peers=name == "main"),
                ConnectionTelemetry(telemetry.metrics, name),
                clock,
            )
        )
    return listeners[0], listeners[1], lambda new: attest_api.use(options.attest_rates(new))


def _attest_api(core: Core, enrolment: Enrolment, refusals: RefusalLog, address_of: Callable[[str], str]) -> AttestApi:
    return AttestApi(
        core.store,
        enrolment,
        lambda: core.registry.bundle,
        refusals,
        options.attest_rates(core.config),
        address_of,
        core.clock,
        core.telemetry,
    )


def _node_api(
    core: Core,
    enrolment: Enrolment,
    signer: BatchSigner,
    refusals: RefusalLog,
    note: Callable[[AgentCaller], None],
    note_version: Callable[[AgentCaller, str], None],
    address_of: Callable[[str], str],
) -> NodeApi:
    config, limits = core.config, core.config.limits
    return NodeApi(
        CallerCheck(core.registry, AgentRecords(core.store), config.trust_domain, core.clock, address_of),
        note,
        note_version,
        core.registry,
        enrolment,
        signer,
        Reports(core.store, core.events, core.telemetry),
        refusals,
        core.clock,
        core.telemetry,
        heartbeat=config.grpc.heartbeat,
        max_items=limits.max_csr_batch,
        watches=Caps(limits.max_watch_streams, limits.max_watch_streams_per_agent),
    )


def _http(core: Core, health: Health, collectors: CollectorRegistry) -> list[HttpServer]:
    """The admin API on its Unix socket, and the probes' TCP listener where there is one."""
    config = core.config
    ops = ops_routes(live=health.live, ready=health.ready, registry=collectors)
    body_bytes = config.limits.max_admin_body_bytes
    app = create_app(
        _services(core),
        allowed_uids={0, os.geteuid()},
        observer=core.telemetry,
        ops=ops,
        limits=AdminLimits(body_bytes=body_bytes),
        clock=core.clock,
    )
    servers = []
    if config.health.listen is not None:  # first, because it may fail and leaves nothing in the file system
        servers.append(serve_tcp(Starlette(routes=ops), config.health.listen.host, config.health.listen.port))
    servers.append(serve_unix(app, config.admin_socket, limits=HttpLimits(body_bytes=body_bytes)))
    return servers


def _services(core: Core) -> AdminServices:
    desk = Desk(core.store, core.events, core.follower.caught_up)
    return AdminServices(
        entries=EntryService(desk, options.entry_policy(core.config), lambda: uuid4().hex),
        agents=AgentService(desk, core.registry),
        streams=StreamService(desk),
        tokens=TokenService(desk, options.token_policy(core.config), os.urandom),
        bundle=BundleService(lambda: core.registry.bundle),
        kek=KekService(core.custody),
        audit=AuditService(desk, core.clock),
    )


async def _authorities_changed(core: Core, own_svid: OwnSvid) -> None:
    """Handshakes trust the new bundle at once; the server's own certificate moves to the authority that signs now."""
    own_svid.bundle_changed()
    await core.authorities.refresh()
    own_svid.authority_is(core.authorities.signing().authority.id)


def _append(store: Transactions) -> Callable[[Sequence[AuditEvent]], Awaitable[None]]:
    return lambda events: store.write(lambda uow: uow.audit.append_all(events))
