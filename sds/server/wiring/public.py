"""The public HTTP endpoints, one listener for each address that the configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from starlette.routing import BaseRoute

from ca.jws import JwtAlgorithm
from sds.config import Address
from sds.server import options
from sds.server.datadir import DataDir
from sds.server.own_svid import OwnSvid
from sds.server.public.app import ANSWER_SECONDS
from sds.server.public.bundle import bundle_routes
from sds.server.public.certificates import FileCertificate, SpiffeCertificate
from sds.server.public.listener import Certificate, PublicListener
from sds.server.public.oidc import oidc_routes
from sds.server.secrets.endpoint import MAX_WAIT
from sds.server.secrets.hook import BODY_BYTES
from sds.server.telemetry import ConnectionTelemetry
from sds.server.wiring.core import Core

REVOCATION_BODY_BYTES = 64 * 1024
"""An OCSP request of the largest number of certificates that is answered."""


@dataclass(slots=True)
class _Plan:
    """What one listener will serve."""

    name: str
    address: Address
    profile: str
    cert_file: Path | None = None
    key_file: Path | None = None
    body_bytes: int = 0
    answer_seconds: float = ANSWER_SECONDS
    routes: list[BaseRoute] = field(default_factory=list)


def public_listeners(
    core: Core,
    data_dir: DataDir,
    own_svid: OwnSvid,
    revocation: Sequence[BaseRoute] = (),
    secrets: Sequence[BaseRoute] = (),
    hook: Sequence[BaseRoute] = (),
) -> list[PublicListener]:
    """None where nothing is configured. Reads certificate files; raises sds.http.tls.TlsUnusable."""
    config = core.config
    observer, clock = core.telemetry, core.clock
    ends: dict[str, datetime] = {}

    def certificate(plan: _Plan) -> Certificate | None:
        if plan.profile == "https_spiffe":
            return SpiffeCertificate(own_svid.current)
        if plan.cert_file is None or plan.key_file is None:
            return None

        def told(not_after: datetime) -> None:
            ends[plan.name] = not_after
            observer.metrics.endpoint_certificate_expiry.set(min(ends.values()).timestamp())

        return FileCertificate(plan.cert_file, plan.key_file, told)

    return [
        PublicListener(
            plan.name,
            plan.address,
            plan.routes,
            certificate=certificate(plan),
            body_bytes=plan.body_bytes,
            folder=data_dir.sockets,
            options=options.listener_options(config, known_peers=False),
            observer=observer,
            connections=ConnectionTelemetry(observer.metrics, "public"),
            clock=clock,
            answer_seconds=plan.answer_seconds,
        )
        for plan in [*_plans(core, revocation, secrets), *_hook_plan(core, hook)]
    ]


def _hook_plan(core: Core, routes: Sequence[BaseRoute]) -> list[_Plan]:
    """The webhook has a listener of its own: it is for sources of secrets and not for everybody."""
    hook = core.config.secrets.webhook
    if hook.listen is None:
        return []
    where = _Plan("hook", hook.listen, hook.profile, hook.cert_file, hook.key_file, BODY_BYTES)
    where.routes += routes
    return [where]


def _plans(core: Core, revocation: Sequence[BaseRoute], secrets: Sequence[BaseRoute]) -> list[_Plan]:
    """Endpoints with the same address share a plan; their TLS is the same then (sds.config.endpoints)."""
    endpoints = core.config.endpoints
    plans: list[_Plan] = []

    def plan(name: str, address: Address, profile: str, cert_file: Path | None, key_file: Path | None) -> _Plan:
        for made in plans:
            if made.address == address and address.port:
                return made
        plans.append(_Plan(name, address, profile, cert_file, key_file))
        return plans[-1]

    bundle, oidc = endpoints.bundle, endpoints.oidc
    issuer = core.config.jwt.issuer
    if oidc.listen is not None and issuer is not None:
        planned = plan("oidc", oidc.listen, oidc.profile, oidc.cert_file, oidc.key_file)
        algorithm = JwtAlgorithm(core.config.jwt.algorithm)
        planned.routes += oidc_routes(lambda: core.registry.bundle, issuer, oidc.max_age, algorithm)
    if endpoints.revocation.listen is not None:
        planned = plan("revocation", endpoints.revocation.listen, "http", None, None)
        planned.body_bytes = REVOCATION_BODY_BYTES
        planned.routes += revocation
    if endpoints.secrets.listen is not None:
        own = endpoints.secrets
        planned = plan("secrets", endpoints.secrets.listen, own.profile, own.cert_file, own.key_file)
        planned.answer_seconds = ANSWER_SECONDS + MAX_WAIT
        planned.routes += secrets
    if bundle.listen is not None:
        planned = plan("bundle", bundle.listen, bundle.profile, bundle.cert_file, bundle.key_file)
        planned.routes += bundle_routes(lambda: core.registry.bundle, bundle.path)
    return plans
