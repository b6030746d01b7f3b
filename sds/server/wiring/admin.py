"""The admin API on its Unix socket, and the probes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from uuid import uuid4

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from ca.jwt_svid import JwtIssuer
from sds.admin.app import create_api
from sds.admin.door import LocalDoor
from sds.admin.gate import Limits as AdminLimits
from sds.admin.services import AdminServices
from sds.http.ops import ops_routes
from sds.http.protocol import HttpLimits
from sds.http.unix import HttpServer, serve_tcp, serve_unix
from sds.server import options
from sds.server.datadir import DataDir
from sds.server.federation.poller import Poller
from sds.server.health import Health
from sds.server.jwt.mint import JwtService
from sds.server.notices.engine import NoticeEngine
from sds.server.notices.service import NoticeService
from sds.server.own_svid import OwnSvid
from sds.server.public.listener import PublicListener
from sds.server.services.agents import AgentService, StreamService
from sds.server.services.audit import AuditService
from sds.server.services.authorities import AuthorityService
from sds.server.services.certificates import CertificateService
from sds.server.services.common import Desk
from sds.server.services.entries import EntryService
from sds.server.services.explain import ExplainService
from sds.server.services.grants import GrantService
from sds.server.services.idempotency import IdempotencyService
from sds.server.services.ledger import LedgerService
from sds.server.services.secrets import SecretPolicy, SecretService
from sds.server.services.sinks import SinkService
from sds.server.services.statistics import StatisticsService
from sds.server.services.trust import BundleService, KekService, TokenService
from sds.server.wiring.access import admin_listener, local_admins, open_access
from sds.server.wiring.core import Core
from sds.server.wiring.federation import federation_service
from sds.server.wiring.revocation import revocation_service
from sds.server.wiring.secrets import SecretEngine, limits


@dataclass(frozen=True, slots=True)
class Network:
    """What the listener on the network needs beside."""

    data_dir: DataDir
    own_svid: OwnSvid


def entry_service(core: Core) -> EntryService:
    return EntryService(_desk(core), options.entry_policy(core.config), lambda: uuid4().hex)


def http_servers(
    core: Core,
    health: Health,
    collectors: CollectorRegistry,
    entries: EntryService,
    poller: Poller,
    secrets: SecretEngine,
    notices: NoticeEngine,
    network: Network,
) -> tuple[list[HttpServer], list[PublicListener]]:
    """The admin API on its Unix socket, the probes' TCP listener, and the admin API's where there are such."""
    config = core.config
    ops = ops_routes(live=health.live, ready=health.ready, degraded=health.degraded, registry=collectors)
    body_bytes = config.limits.max_admin_body_bytes
    opened = open_access(core, _desk(core))
    api = create_api(
        _services(core, entries, poller, secrets, notices),
        ops=ops,
        limits=AdminLimits(body_bytes=body_bytes),
        clock=core.clock,
        access=opened.app,
    )
    api.guard.noting.missed = core.telemetry.admin_read_unnoted
    door = LocalDoor(local_admins(), opened.app.limits, opened.rights.bound, core.telemetry)
    app = api.behind(door, observer=core.telemetry)
    listener = admin_listener(core, network.data_dir, network.own_svid, api, opened)
    servers = []
    if config.health.listen is not None:  # first, because it may fail and leaves nothing in the file system
        servers.append(serve_tcp(Starlette(routes=ops), config.health.listen.host, config.health.listen.port))
    servers.append(
        serve_unix(app, config.admin_socket, mode=config.admin.socket_mode, limits=HttpLimits(body_bytes=body_bytes))
    )
    return servers, [] if listener is None else [listener]


def _tokens(core: Core) -> JwtService:
    policy = options.jwt_policy(core.config)
    return JwtService(
        core.store,
        core.config.trust_domain,
        JwtIssuer(policy, lambda: uuid4().hex),
        policy,
        core.authorities,
        core.events,
        core.clock,
        core.telemetry,
        lambda: core.registry.bundles,
        core.config.jwt.leeway,
    )


def _desk(core: Core) -> Desk:
    return Desk(core.store, core.events, core.follower.caught_up)


def _secrets(core: Core, desk: Desk, engine: SecretEngine) -> SecretService:
    section = core.config.secrets
    return SecretService(
        desk,
        engine.desk,
        engine.backends,
        engine.sealer,
        engine.values,
        SecretPolicy(limits(section), section.max_secrets),
        lambda: uuid4().hex,
    )


def _services(
    core: Core, entries: EntryService, poller: Poller, secrets: SecretEngine, notices: NoticeEngine
) -> AdminServices:
    desk = _desk(core)
    authorities = AuthorityService(desk, core.authorities, options.rotation_rules(core.config))
    return AdminServices(
        entries=entries,
        agents=AgentService(desk, core.registry),
        streams=StreamService(desk),
        tokens=TokenService(desk, options.token_policy(core.config), os.urandom),
        bundle=BundleService(lambda: core.registry.bundle),
        kek=KekService(core.custody),
        authorities=authorities,
        jwt=_tokens(core),
        revocations=revocation_service(core, desk),
        federations=federation_service(core, desk, poller),
        secrets=_secrets(core, desk, secrets),
        grants=GrantService(desk, core.config.trust_domain, core.config.secrets.max_grants, lambda: uuid4().hex),
        audit=AuditService(desk, core.clock),
        ledger=LedgerService(desk, core.ledger.keys, core.ledger.pruner, core.clock),
        sinks=SinkService(core.sinks),
        notices=NoticeService(desk, notices, core.clock),
        certificates=CertificateService(desk),
        explain=ExplainService(desk),
        idempotency=IdempotencyService(core.store),
        statistics=StatisticsService(desk, core.registry, authorities, core.clock.monotonic),
    )
