"""The admin API, put together: `create_app` is all that `sds.server` needs from this package."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Scope

from sds.admin.door import Bound, CallerLimits, Door, LocalDoor, no_bindings
from sds.admin.four_eyes import FourEyes
from sds.admin.gate import Gate, Limits, Observer
from sds.admin.guard import Guard
from sds.admin.login.limits import DoorLimits
from sds.admin.login.ports import LoginAdmin
from sds.admin.once import Once
from sds.admin.openapi import complete
from sds.admin.pages.mount import mount_pages
from sds.admin.problems import HANDLED, Problem, problem_for
from sds.admin.routes.access import AccessRoutes
from sds.admin.routes.agents import AgentRoutes
from sds.admin.routes.approvals import ApprovalRoutes
from sds.admin.routes.audit import AuditRoutes
from sds.admin.routes.authorities import AuthorityRoutes
from sds.admin.routes.certificates import CertificateRoutes
from sds.admin.routes.entries import EntryRoutes
from sds.admin.routes.federations import FederationRoutes
from sds.admin.routes.grants import GrantRoutes
from sds.admin.routes.insight import InsightRoutes
from sds.admin.routes.jwt import JwtRoutes
from sds.admin.routes.ledger import LedgerRoutes
from sds.admin.routes.login import LoginRoutes
from sds.admin.routes.notices import NoticeRoutes
from sds.admin.routes.revocations import RevocationRoutes
from sds.admin.routes.secrets import SecretRoutes
from sds.admin.routes.sinks import SinkRoutes
from sds.admin.routes.trust import TrustRoutes
from sds.admin.services import AdminServices, AuditAdmin
from sds.admin.services.access import AccessAdmin
from sds.admin.services.approvals import ApprovalAdmin
from sds.admin.wire import (
    access,
    approvals,
    authorities,
    certificates,
    entries,
    explain,
    federations,
    grants,
    jwt,
    ledger,
    notices,
    revocations,
    secret_values,
    secrets,
    views,
)
from sds.clock import Clock, SystemClock
from sds.logs import get_logger

_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,  # would record exception messages
    "operation_spans": False,
    "auto_configure": False,
}
_BODIES = (
    entries.EntryIn,
    entries.EntryAgain,
    entries.ApplyIn,
    views.TokenIn,
    views.BanIn,
    jwt.MintIn,
    jwt.VerifyIn,
    authorities.PrepareIn,
    authorities.ActivateIn,
    authorities.RevokeIn,
    revocations.RevocationIn,
    federations.FederationIn,
    federations.SourceIn,
    federations.BundleIn,
    secrets.SecretIn,
    secrets.SecretAgain,
    secrets.RollbackIn,
    secret_values.ValueIn,
    grants.GrantIn,
    grants.CheckIn,
    access.ApiTokenIn,
    access.BindingIn,
    approvals.RejectIn,
    notices.NoticeTestIn,
    certificates.PemIn,
    explain.ExplainIn,
    ledger.AuditVerifyIn,
    ledger.AuditPruneIn,
)

log = get_logger(__name__)


Shown = Callable[[Scope, Problem], Response | None]
"""A problem as a page, to whom asked for one."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use it, and how they log in. `limits`: the doors'. `four_eyes`: what others have to approve."""

    access: AccessAdmin
    login: LoginAdmin
    approvals: ApprovalAdmin
    limits: DoorLimits
    four_eyes: Sequence[str] = ()


def create_app(
    services: AdminServices,
    *,
    allowed_uids: Iterable[int],
    callers: CallerLimits,
    observer: Observer | None = None,
    ops: Sequence[BaseRoute] = (),
    limits: Limits | None = None,
    clock: Clock | None = None,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    bound: Bound = no_bindings,
) -> ASGIApp:
    """The ASGI application of the local socket: /v1 and the routes of `ops` (/live, /ready, /metrics).

    `allowed_uids` are the users who may do anything: root (0), the server's own, and who is configured beside; `bound`
    knows the rights of others, and `callers` how often they may ask. Their credentials must stand in
    ``scope["state"]["peer"]`` (`sds.http.unix`); a request without them is refused.
    """
    api = create_api(services, ops=ops, limits=limits, clock=clock)
    return api.behind(LocalDoor(frozenset(allowed_uids), callers, bound), observer=observer, new_id=new_id)


@dataclass(frozen=True, slots=True)
class Api:
    """The application, which listeners with doors of their own share."""

    app: FastAPI
    guard: Guard
    audit: AuditAdmin
    limits: Limits
    monotonic: Callable[[], float]
    shown: Shown

    def behind(
        self,
        door: Door,
        *,
        observer: Observer | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> ASGIApp:
        """What a listener serves, whose callers enter by this door."""
        return Gate(
            self.app,
            door=door,
            audit=self.audit,
            limits=self.limits,
            new_id=new_id,
            monotonic=self.monotonic,
            observer=observer,
            is_open=self.guard.is_open,
            headers=headers,
            shown=self.shown,
        )


def create_api(
    services: AdminServices,
    *,
    ops: Sequence[BaseRoute] = (),
    limits: Limits | None = None,
    clock: Clock | None = None,
    access: Access | None = None,
) -> Api:
    """The application, without a way in. Raises RuntimeError for a route that no rule of access knows."""
    limits = limits or Limits()
    app = _Api(
        title="sds admin API", version="1", openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False, telemetry=_NO_TELEMETRY,
    )  # fmt: skip
    monotonic = (clock or SystemClock()).monotonic
    guard = Guard(services.audit, monotonic)
    guard.once = Once(services.idempotency)
    app.router.route_class = guard.route_class()
    app.get("/v1/openapi.json", operation_id="api.describe", include_in_schema=False)(app.describe)
    EntryRoutes(services.entries, services.revocations).mount(app)
    AgentRoutes(services.agents, services.streams, services.revocations).mount(app)
    TrustRoutes(services.bundle, services.tokens, services.kek).mount(app)
    AuthorityRoutes(services.authorities, services.revocations).mount(app)
    JwtRoutes(services.jwt).mount(app)
    RevocationRoutes(services.revocations).mount(app)
    FederationRoutes(services.federations).mount(app)
    SecretRoutes(services.secrets).mount(app)
    GrantRoutes(services.grants).mount(app)
    NoticeRoutes(services.notices).mount(app)
    AuditRoutes(services.audit, limits.waiting).mount(app)
    LedgerRoutes(services.ledger).mount(app)
    SinkRoutes(services.sinks).mount(app)
    CertificateRoutes(services.certificates).mount(app)
    InsightRoutes(services.explain, services.statistics).mount(app)
    clocked = (clock or SystemClock()).now
    site = mount_pages(app, services, clocked, provider=lambda: access is not None and access.login.provider)
    if access is not None:
        AccessRoutes(access.access).mount(app)
        ApprovalRoutes(access.approvals).mount(app)
        LoginRoutes(access.login, access.limits).mount(app)
        guard.around = FourEyes(access.approvals, access.four_eyes)
    for route in ops:
        _guarded(app, route)
    guard.check(app.routes)
    refuse = _Refuse(services.audit, site.shown)
    for kind in (*HANDLED, Exception):
        app.add_exception_handler(kind, refuse)
    return Api(app, guard, services.audit, limits, monotonic, site.shown)


class _Refuse:
    """Answers an error with its problem document; the refusal of a write goes into the audit log first."""

    def __init__(self, audit: AuditAdmin, shown: Shown) -> None:
        self._audit = audit
        self._shown = shown

    async def __call__(self, request: Request, error: Exception) -> Response:
        problem = problem_for(error)
        call = request.state.call
        action = getattr(request.scope.get("route"), "operation_id", None)
        if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
            problem = replace(problem, headers={"Allow": _allowed(request)})
        elif action is not None and problem.status < 500 and _to_be_audited(request):
            target = getattr(request.state, "target", "")
            await self._record(call, action, target, problem.summary())
        return self._shown(request.scope, problem) or problem.response(call.request_id)

    async def _record(self, call: Any, action: str, target: str, reason: str) -> None:
        """Nothing was changed, so a log that cannot be written must not hide the answer from the caller."""
        try:
            await self._audit.refused(call, action, target, reason)
        except Exception as error:  # noqa: BLE001  # whatever the store raises
            log.warning("a refusal could not be audited", action=action, error=type(error).__qualname__)


def _guarded(app: FastAPI, route: BaseRoute) -> None:
    """A route that was made for a listener of its own, under the rules as well."""
    if not isinstance(route, Route):
        raise TypeError("only plain routes can be put under the rules")
    name = route.path.removeprefix("/")
    app.get(route.path, operation_id=f"server.{name}", include_in_schema=False)(route.endpoint)


def _to_be_audited(request: Request) -> bool:
    """What would have changed something, and whatever the rules refuse."""
    return request.method != "GET" or getattr(request.state, "refused_by_rule", False)


def _allowed(request: Request) -> str:
    """Every method of every route at this path; Starlette names those of the first route alone."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in getattr(route, "methods", None) or ()}))


class _Api(FastAPI):
    """FastAPI whose OpenAPI document also has what holds for all operations."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = complete(super().openapi(), _BODIES)
        return self.openapi_schema

    async def describe(self) -> JSONResponse:
        return JSONResponse(self.openapi())
