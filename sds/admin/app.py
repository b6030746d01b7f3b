"""The admin API, put together: `create_app` is all that `sds.server` needs from this package."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp

from sds.admin.gate import Gate, Limits, Observer
from sds.admin.problems import HANDLED, problem_for
from sds.admin.routes.agents import AgentRoutes
from sds.admin.routes.audit import AuditRoutes
from sds.admin.routes.authorities import AuthorityRoutes
from sds.admin.routes.entries import EntryRoutes
from sds.admin.routes.federations import FederationRoutes
from sds.admin.routes.grants import GrantRoutes
from sds.admin.routes.jwt import JwtRoutes
from sds.admin.routes.revocations import RevocationRoutes
from sds.admin.routes.secrets import SecretRoutes
from sds.admin.routes.trust import TrustRoutes
from sds.admin.services import AdminServices, AuditAdmin
from sds.admin.wire import (
    authorities,
    entries,
    federations,
    grants,
    jwt,
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
)

log = get_logger(__name__)


def create_app(
    services: AdminServices,
    *,
    allowed_uids: Iterable[int],
    observer: Observer | None = None,
    ops: Sequence[BaseRoute] = (),
    limits: Limits | None = None,
    clock: Clock | None = None,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> ASGIApp:
    """The ASGI application: /v1 and the routes of `ops` (/live, /ready, /metrics).

    `allowed_uids` are the users who may use it: root (0), the server's own, and who is configured beside. Their
    credentials must stand in ``scope["state"]["peer"]`` (`sds.http.unix`); a request without them is refused.
    """
    limits = limits or Limits()
    app = _Api(
        title="sds admin API", version="1", openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False, telemetry=_NO_TELEMETRY,
    )  # fmt: skip
    EntryRoutes(services.entries).mount(app)
    AgentRoutes(services.agents, services.streams).mount(app)
    TrustRoutes(services.bundle, services.tokens, services.kek).mount(app)
    AuthorityRoutes(services.authorities).mount(app)
    JwtRoutes(services.jwt).mount(app)
    RevocationRoutes(services.revocations).mount(app)
    FederationRoutes(services.federations).mount(app)
    SecretRoutes(services.secrets).mount(app)
    GrantRoutes(services.grants).mount(app)
    AuditRoutes(services.audit, limits.waiting).mount(app)
    app.router.routes.extend(ops)
    refuse = _Refuse(services.audit)
    for kind in (*HANDLED, Exception):
        app.add_exception_handler(kind, refuse)
    return Gate(
        app,
        allowed=frozenset(allowed_uids),
        audit=services.audit,
        limits=limits,
        new_id=new_id,
        monotonic=(clock or SystemClock()).monotonic,
        observer=observer,
    )


class _Refuse:
    """Answers an error with its problem document; the refusal of a write goes into the audit log first."""

    def __init__(self, audit: AuditAdmin) -> None:
        self._audit = audit

    async def __call__(self, request: Request, error: Exception) -> Response:
        problem = problem_for(error)
        call = request.state.call
        action = getattr(request.scope.get("route"), "operation_id", None)
        if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
            problem = replace(problem, headers={"Allow": _allowed(request)})
        elif action is not None and request.method != "GET" and problem.status < 500:
            target = getattr(request.state, "target", "")
            await self._record(call, action, target, problem.summary())
        return problem.response(call.request_id)

    async def _record(self, call: Any, action: str, target: str, reason: str) -> None:
        """Nothing was changed, so a log that cannot be written must not hide the answer from the caller."""
        try:
            await self._audit.refused(call, action, target, reason)
        except Exception as error:  # noqa: BLE001  # whatever the store raises
            log.warning("a refusal could not be audited", action=action, error=type(error).__qualname__)


def _allowed(request: Request) -> str:
    """Every method of every route at this path; Starlette names those of the first route alone."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in getattr(route, "methods", None) or ()}))


class _Api(FastAPI):
    """FastAPI whose OpenAPI document also has the bodies that `strict_json` reads."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            document = super().openapi()
            _, schemas = models_json_schema(
                [(model, "validation") for model in _BODIES], ref_template="#/components/schemas/{model}"
            )
            known = document.setdefault("components", {}).setdefault("schemas", {})
            known.update(schemas["$defs"])
            self.openapi_schema = document
        return self.openapi_schema
