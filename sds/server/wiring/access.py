"""Who may use the admin API, and its listener on the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from starlette.types import ASGIApp

from ca.masked import Masked
from sds.admin.app import Access, Api
from sds.admin.login.flow import Client
from sds.admin.login.limits import DoorLimits, DoorRates
from sds.admin.login.network import NetworkDoor
from sds.config import ConfigError, Problem
from sds.config.admin import AdminOidcSection
from sds.net.limits import Rate
from sds.server import options
from sds.server.access.approvals import ApprovalService
from sds.server.access.credentials import StoredCredentials
from sds.server.access.oidc import Provider, ProviderOptions
from sds.server.access.rights import Rights
from sds.server.access.service import AccessPolicy, AccessService
from sds.server.access.sessions import LoginService, SessionPolicy
from sds.server.access.svid import SvidCheck
from sds.server.datadir import DataDir
from sds.server.own_svid import OwnSvid
from sds.server.public.certificates import FileCertificate, SpiffeCertificate, WithClients
from sds.server.public.listener import Certificate, PublicListener
from sds.server.services.common import Desk
from sds.server.telemetry import ConnectionTelemetry
from sds.server.wiring.core import Core

_LONGEST_SECRET = 4096
HSTS = "max-age=31536000"
"""A year (RFC 6797), of this host alone: what others below it serve is not ours to say."""


@dataclass(frozen=True, slots=True)
class Opened:
    """`app` is for the routes; the rest for the doors."""

    app: Access
    credentials: StoredCredentials
    rights: Rights


def open_access(core: Core, desk: Desk) -> Opened:
    """Reads the secret of the OpenID client. Raises ConfigError."""
    config = core.config.admin
    rights = Rights(core.store, local_admins())
    provider = _provider(core, config.oidc)
    svids = SvidCheck(lambda: core.registry.bundle, core.store, core.clock)
    credentials = StoredCredentials(core.store, rights, svids, config.session.idle, provider)
    policy = AccessPolicy(core.config.trust_domain, config.token_ttl, config.token_max_ttl)
    sessions = SessionPolicy(config.session.max, config.session.per_caller)
    access = Access(
        access=AccessService(desk, policy, os.urandom, _new_id),
        login=LoginService(desk, credentials, rights, provider, sessions, os.urandom),
        approvals=ApprovalService(desk, rights, config.approval_ttl, _new_id),
        limits=DoorLimits(_rates(core), core.clock.monotonic),
        four_eyes=config.four_eyes,
    )
    return Opened(access, credentials, rights)


def local_admins() -> frozenset[int]:
    """Who may do anything on the local socket: root, and the server's own user."""
    return frozenset({0, os.geteuid()})


def admin_listener(core: Core, data_dir: DataDir, own_svid: OwnSvid, api: Api, opened: Opened) -> PublicListener | None:
    """None where it is not configured. Reads certificate files; raises sds.http.tls.TlsUnusable."""
    config = core.config.admin
    if config.listen is None:
        return None

    def app(address_of: Callable[[str], str]) -> ASGIApp:
        limits, hosts = opened.app.limits, config.allowed_hosts
        door = NetworkDoor(opened.credentials, hosts, limits, address_of, core.telemetry)
        return api.behind(door, observer=core.telemetry, headers=MappingProxyType({"Strict-Transport-Security": HSTS}))

    return PublicListener(
        "admin",
        config.listen,
        (),
        certificate=_certificate(core, own_svid),
        body_bytes=core.config.limits.max_admin_body_bytes,
        folder=data_dir.sockets,
        options=options.listener_options(core.config, known_peers=False),
        observer=core.telemetry,
        connections=ConnectionTelemetry(core.telemetry.metrics, "public"),
        clock=core.clock,
        app=app,
        ask_client=config.client_certificates,
    )


def _certificate(core: Core, own_svid: OwnSvid) -> Certificate:
    config = core.config.admin
    inner: Certificate
    if config.cert_file is not None and config.key_file is not None:
        inner = FileCertificate(config.cert_file, config.key_file)
    else:
        inner = SpiffeCertificate(own_svid.current)
    if not config.client_certificates:
        return inner
    return WithClients(inner, lambda: core.registry.bundle.x509_authorities)


def _provider(core: Core, section: AdminOidcSection) -> Provider | None:
    if section.issuer is None:
        return None
    client = None
    if section.client_id is not None and section.redirect_url is not None:
        secret = None
        if section.client_secret_file is not None:
            secret = _client_secret(section.client_secret_file)
        client = Client(section.client_id, section.redirect_url, section.scopes, secret)
    return Provider(
        ProviderOptions(
            section.issuer,
            client,
            section.audience,
            section.groups_claim,
            section.name_claim,
            section.max_token_age,
            section.ca_file,
        ),
        core.clock,
    )


def _client_secret(path: Path) -> Masked[str]:
    """Raises ConfigError, which shows nothing of it."""
    name = "admin.oidc.client_secret_file"
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_SECRET + 1).strip()
            others = path.stat().st_mode & 0o007
    except OSError as error:
        raise ConfigError([Problem(name, f"cannot be read: {error.strerror}")]) from None
    if others:
        raise ConfigError([Problem(name, f"can be read by others: chmod 600 {path}")])
    if not content or len(content) > _LONGEST_SECRET or not content.isascii():
        raise ConfigError([Problem(name, f"has not 1 to {_LONGEST_SECRET} ASCII characters in it")])
    return Masked(content.decode())


def _rates(core: Core) -> DoorRates:
    limits = core.config.admin.limits
    return DoorRates(
        address=Rate(limits.address_rate, limits.address_burst),
        caller=Rate(limits.caller_rate, limits.caller_burst),
        failed=Rate(limits.failed_rate, limits.failed_burst),
    )


def _new_id() -> str:
    return uuid4().hex
