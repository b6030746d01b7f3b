"""The admin API on its Unix socket, and the probes."""

from __future__ import annotations

import os
from uuid import uuid4

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from ca.jwt_svid import JwtIssuer
from sds.admin.app import create_app
from sds.admin.gate import Limits as AdminLimits
from sds.admin.services import AdminServices
from sds.http.ops import ops_routes
from sds.http.protocol import HttpLimits
from sds.http.unix import HttpServer, serve_tcp, serve_unix
from sds.server import options
from sds.server.federation.poller import Poller
from sds.server.health import Health
from sds.server.jwt.mint import JwtService
from sds.server.notices.engine import NoticeEngine
from sds.server.notices.service import NoticeService
from sds.server.services.agents import AgentService, StreamService
from sds.server.services.audit import AuditService
from sds.server.services.authorities import AuthorityService
from sds.server.services.certificates import CertificateService
from sds.server.services.common import Desk
from sds.server.services.entries import EntryService
from sds.server.services.grants import GrantService
from sds.server.services.secrets import SecretPolicy, SecretService
from sds.server.services.trust import BundleService, KekService, TokenService
from sds.server.wiring.core import Core
from sds.server.wiring.federation import federation_service
from sds.server.wiring.revocation import revocation_service
from sds.server.wiring.secrets import SecretEngine, limits


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
) -> list[HttpServer]:
    """The admin API on its Unix socket, and the probes' TCP listener where there is one."""
    config = core.config
    ops = ops_routes(live=health.live, ready=health.ready, degraded=health.degraded, registry=collectors)
    body_bytes = config.limits.max_admin_body_bytes
    app = create_app(
        _services(core, entries, poller, secrets, notices),
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
    return AdminServices(
        entries=entries,
        agents=AgentService(desk, core.registry),
        streams=StreamService(desk),
        tokens=TokenService(desk, options.token_policy(core.config), os.urandom),
        bundle=BundleService(lambda: core.registry.bundle),
        kek=KekService(core.custody),
        authorities=AuthorityService(desk, core.authorities, options.rotation_rules(core.config)),
        jwt=_tokens(core),
        revocations=revocation_service(core, desk),
        federations=federation_service(core, desk, poller),
        secrets=_secrets(core, desk, secrets),
        grants=GrantService(desk, core.config.trust_domain, core.config.secrets.max_grants, lambda: uuid4().hex),
        audit=AuditService(desk, core.clock),
        notices=NoticeService(desk, notices, core.clock),
        certificates=CertificateService(desk),
    )
