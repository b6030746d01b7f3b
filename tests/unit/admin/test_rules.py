"""Role by endpoint, over every route that there is; and that a route without a rule never starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.responses import JSONResponse
from starlette.types import Scope as Asgi

from attestation.spiffe_id import SpiffeId
from sds.admin.access.decide import check, in_scope, permitted
from sds.admin.access.roles import EVERYTHING, Right, Role, Scope
from sds.admin.access.rules import RULES, Scoping
from sds.admin.app import Access, Api, create_api
from sds.admin.errors import Forbidden, NotAdmitted
from sds.admin.guard import Guard
from sds.admin.login.limits import DoorLimits, DoorRates
from sds.admin.services import NOBODY, AdminCall, Caller, CallerKind
from sds.http.ops import ops_routes
from sds.net.limits import Rate
from sds.store.errors import NotFound
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock

PAYMENTS = Scope(SpiffeId.parse("spiffe://example.org/payments"))
VIEWER, AUDITOR, OPERATOR, ADMIN = Role.VIEWER, Role.AUDITOR, Role.OPERATOR, Role.ADMIN


class Anyone:
    """A door that lets in whoever a test says; nobody without rights."""

    def __init__(self, *rights: Right) -> None:
        self.rights = rights

    def nobody(self, scope: Asgi) -> Caller:
        return NOBODY

    async def enter(self, scope: Asgi, call: AdminCall) -> AdminCall:
        if not self.rights:
            raise NotAdmitted("nobody", told="nobody")
        return replace(call, caller=Caller(CallerKind.TOKEN, "token:t", "t"), rights=self.rights)


@pytest.fixture
def fakes() -> FakeServices:
    return FakeServices(FakeClock().now)


class Unused:
    """Services of access, which have tests of their own: here only whether they are reached."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NotFound("thing", "there is none here")


def everything(fakes: FakeServices) -> Api:
    """With every route that a server has."""
    unused: Any = Unused()
    rate = Rate(1000.0, 1000)
    limits = DoorLimits(DoorRates(rate, rate, rate), lambda: 0.0)
    ops = ops_routes(live={}, ready={}, registry=CollectorRegistry())
    return create_api(fakes.services, ops=ops, access=Access(unused, unused, unused, limits))


def _routes() -> Iterator[APIRoute]:
    api = everything(FakeServices(FakeClock().now))
    for route in api.app.routes:
        assert isinstance(route, APIRoute)
        yield route


ROUTES = {route.operation_id or "": route for route in _routes()}

# Written out again, by hand: who may, of all roles. A rule that is loosened by a slip of the pen is seen here.
ALL = {VIEWER, AUDITOR, OPERATOR, ADMIN}
READ = {AUDITOR, OPERATOR, ADMIN}
LOG = {AUDITOR, ADMIN}
CHANGE = {OPERATOR, ADMIN}
TOP = {ADMIN}
NONE: set[Role] = set()
MATRIX: dict[str, set[Role]] = {
    "api.describe": ALL, "access.whoami": ALL, "access.token.bootstrap": TOP, "token.create.downstream": TOP,
    "server.live": ALL, "server.ready": ALL, "server.metrics": ALL,
    "notice.list": ALL, "notice.test": CHANGE, "audit.sinks": READ,
    "page.show": ALL, "page.act": ALL, "page.live": ALL, "page.asset": NONE, "page.login": NONE,
    "access.token.list": LOG, "access.token.create": TOP, "access.token.revoke": TOP,
    "access.binding.list": LOG, "access.binding.create": TOP, "access.binding.delete": TOP,
    "approval.list": READ, "approval.show": READ, "approval.approve": CHANGE, "approval.reject": CHANGE,
    "session.login": NONE, "session.login.oidc": NONE, "session.login.callback": NONE, "session.logout": NONE,
    "entry.list": ALL, "entry.show": ALL,
    "entry.create": CHANGE, "entry.update": CHANGE, "entry.delete": CHANGE, "entry.apply": CHANGE,
    "entry.import": CHANGE, "entry.export": LOG, "agent.export": LOG, "stream.export": LOG, "grant.export": LOG,
    "revocation.export": LOG,
    "agent.list": ALL, "agent.show": ALL, "agent.ban": CHANGE, "agent.delete": CHANGE, "stream.list": ALL,
    "explain": READ, "statistics.show": ALL,
    "certificate.list": ALL, "certificate.show": ALL, "certificate.find": ALL, "certificate.export": LOG,
    "token.create": CHANGE, "token.issue": CHANGE, "token.verify": ALL, "bundle.show": ALL,
    "authority.list": ALL, "authority.show": ALL, "authority.prepare": TOP, "authority.activate": TOP,
    "authority.taint": TOP, "authority.revoke": TOP, "kek.rotate": TOP,
    "revocation.list": ALL, "revocation.create": CHANGE,
    "block.list": ALL, "block.show": ALL, "block.lift": CHANGE,
    "federation.list": ALL, "federation.show": ALL, "federation.bundle.show": ALL, "federation.refresh": CHANGE,
    "federation.create": TOP, "federation.update": TOP, "federation.bundle": TOP, "federation.delete": TOP,
    "secret.list": ALL, "secret.show": ALL, "secret.versions": ALL,
    "secret.create": CHANGE, "secret.update": CHANGE, "secret.put": CHANGE,
    "secret.refresh": CHANGE, "secret.rollback": CHANGE, "secret.delete": CHANGE,
    "grant.list": ALL, "grant.show": ALL, "grant.check": READ, "grant.create": CHANGE, "grant.delete": CHANGE,
    "audit.tail": LOG, "audit.show": LOG, "audit.export": LOG, "audit.verify": LOG,
    "audit.proof": READ, "audit.checkpoint": READ, "audit.checkpoints": READ, "audit.consistency": READ, "audit.keys": READ,
    "audit.prune": TOP, "audit.key.rotate": TOP,
}  # fmt: skip


def test_every_route_has_a_rule_and_every_rule_is_in_the_table() -> None:
    assert ROUTES.keys() <= RULES.keys()
    assert {name: set(rule.roles) for name, rule in RULES.items()} == MATRIX


@dataclass
class Asked:
    """One application, and what each operation answers to a request as empty as can be."""

    fakes: FakeServices
    api: Api

    async def all(self, *rights: Right) -> dict[str, httpx.Response]:
        transport = httpx.ASGITransport(self.api.behind(Anyone(*rights)))
        async with httpx.AsyncClient(transport=transport, base_url="http://sds") as http:
            return {
                name: await http.request(min(route.methods), re.sub(r"{[^}]*}", "x", route.path))
                for name, route in ROUTES.items()
            }


@pytest.fixture
def asked(fakes: FakeServices) -> Asked:
    return Asked(fakes, everything(fakes))


@pytest.mark.parametrize("role", list(Role))
async def test_role_by_endpoint(asked: Asked, role: Role) -> None:
    """Over HTTP. Who may is answered by the handler, whatever that says of such a request."""
    answers = await asked.all(Right(role))
    allowed = {name for name in ROUTES if role in MATRIX[name] or RULES[name].scoping is Scoping.OPEN}
    assert {name for name, answer in answers.items() if answer.status_code != 403} == allowed
    noted = [row.event.action for row in asked.fakes.audit.rows if row.event.outcome.value == "refused"]
    assert set(ROUTES) - allowed <= set(noted)
    reading = {name for name in allowed if ROUTES[name].methods == {"GET"} or RULES[name].sensitive}
    assert {each.operation for _, each in asked.fakes.audit.reads} == {n for n in reading if not RULES[n].unnoted}


async def test_nobody_may_nothing_but_log_in(asked: Asked) -> None:
    answers = await asked.all()
    open_to_all = {name for name in ROUTES if RULES[name].scoping is Scoping.OPEN}
    assert {name for name, answer in answers.items() if answer.status_code != 403} == open_to_all
    assert {"session.login", "session.login.oidc", "session.login.callback", "session.logout"} <= open_to_all


async def test_what_knows_no_limits_is_refused_to_who_has_some(asked: Asked) -> None:
    answers = await asked.all(*[Right(role, PAYMENTS) for role in Role])
    unscoped = {name for name in ROUTES if RULES[name].scoping is Scoping.NOT_SCOPED}
    assert all(answers[name].status_code == 403 for name in unscoped)


async def _handler() -> JSONResponse:
    return JSONResponse({})


def test_a_route_without_a_rule_never_starts(fakes: FakeServices) -> None:
    app = FastAPI(openapi_url=None)
    guard = Guard(fakes.audit, lambda: 0.0)
    app.router.route_class = guard.route_class()
    app.get("/v1/new", operation_id="new.thing")(_handler)
    with pytest.raises(RuntimeError, match=r"/v1/new \(new.thing\) has no rule"):
        guard.check(app.routes)


def test_a_route_past_the_guard_never_starts(fakes: FakeServices) -> None:
    app = FastAPI(openapi_url=None)
    guard = Guard(fakes.audit, lambda: 0.0)
    app.get("/v1/entries", operation_id="entry.list")(_handler)
    with pytest.raises(RuntimeError, match="/v1/entries is not guarded"):
        guard.check(app.routes)
    plain = FastAPI(openapi_url="/openapi.json")
    with pytest.raises(RuntimeError, match="not guarded"):
        guard.check(plain.routes)


async def test_a_route_that_came_after_the_check_is_refused(fakes: FakeServices) -> None:
    api = create_api(fakes.services)
    api.app.get("/v1/late", operation_id="late.thing")(_handler)
    app = api.behind(Anyone(Right(ADMIN)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sds") as http:
        assert (await http.get("/v1/late")).status_code == 403


def call(*rights: Right) -> AdminCall:
    return AdminCall(NOBODY, "r", rights)


def test_rights_add_up_and_other_roles_do_not_count() -> None:
    mixed = call(Right(VIEWER), Right(OPERATOR, PAYMENTS))
    assert permitted(mixed, "entry.list") == (EVERYTHING,)
    assert permitted(mixed, "entry.create") == (PAYMENTS,)
    for operation in ("audit.tail", "authority.prepare", "unheard.of", ""):
        with pytest.raises(Forbidden):
            permitted(mixed, operation)
    with pytest.raises(Forbidden):
        permitted(call(), "bundle.show")


@pytest.mark.parametrize(
    ("path", "labels", "within"),
    [
        ("/payments", {}, True),
        ("/payments/api", {}, True),
        ("/payments-test", {}, False),
        ("/pay", {}, False),
        ("", {}, False),
    ],
)
def test_below_is_by_whole_segments(path: str, labels: dict[str, str], within: bool) -> None:
    assert in_scope(PAYMENTS, SpiffeId.parse(f"spiffe://example.org{path}"), labels) is within
    assert not in_scope(PAYMENTS, SpiffeId.parse("spiffe://other.org/payments"))


def test_labels_must_all_be_there() -> None:
    scope = Scope(None, {"team": "payments", "env": "prod"})
    web = SpiffeId.parse("spiffe://example.org/web")
    assert in_scope(scope, web, {"team": "payments", "env": "prod", "more": "x"})
    assert not in_scope(scope, web, {"team": "payments"})
    assert not in_scope(scope, web)
    assert not in_scope(scope, None, {"team": "payments", "env": "prod"})


def test_checking_a_target() -> None:
    mine = SpiffeId.parse("spiffe://example.org/payments/api")
    other = SpiffeId.parse("spiffe://example.org/web")
    limited = call(Right(OPERATOR, PAYMENTS))
    check(limited, "entry.delete", mine)
    for target in (other, None):
        with pytest.raises(Forbidden):
            check(limited, "entry.delete", target)
    check(call(Right(OPERATOR)), "entry.delete", None)
