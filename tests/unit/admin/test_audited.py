"""Every call leaves an audit event, whatever became of it; and what such an event says, and doesn't."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest
from starlette.responses import JSONResponse
from structlog.testing import capture_logs

from sds.admin import noting
from sds.admin.access.roles import Right, Role
from sds.admin.access.rules import RULES
from sds.admin.app import create_api
from sds.admin.services import AdminCall, local_caller
from sds.admin.services.audit import Reading
from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.fakes.wait import until
from tests.unit.admin.test_rules import everything
from tests.unit.admin.watched import ENTRY, ROUTES, World, made

CALL = AdminCall(local_caller(0, 1, "root"), "request-of-root")
ADMIN, AUDITOR, VIEWER = Right(Role.ADMIN), Right(Role.AUDITOR), Right(Role.VIEWER)
UNNOTED = {  # written out again: what is added to the rules is seen here
    "api.describe", "server.live", "server.ready",
    "session.login", "session.login.oidc", "session.login.callback", "session.logout",
    "page.live", "page.asset", "page.login",
}  # fmt: skip


@pytest.fixture
def world() -> World:
    return made(lambda fakes, clock: create_api(fakes.services, clock=clock), ADMIN)


def test_what_leaves_nothing_is_a_short_list_with_reasons() -> None:
    assert {name for name, rule in RULES.items() if rule.unnoted} == UNNOTED
    assert all(len(RULES[name].unnoted) > 10 for name in UNNOTED)
    assert not any(RULES[name].sensitive for name in UNNOTED)


@pytest.mark.parametrize("rights", [[ADMIN], [VIEWER], []], ids=["all may", "some may", "nobody may"])
async def test_every_operation_leaves_an_event(rights: list[Right]) -> None:
    """Each route there is, with a request as empty as can be: allowed, refused, or wrong."""
    world = made(lambda fakes, _clock: everything(fakes), *rights)
    silent = set()
    for number, route in enumerate(ROUTES):
        request_id = f"request-{number}"
        path = re.sub(r"{[^}]*}", f"x{number}", route.path)
        answer = await world.http.request(min(route.methods), path, headers={"X-Request-Id": request_id})
        if not world.events(request_id):
            silent.add(route.operation_id)
        elif route.operation_id in UNNOTED:
            assert answer.status_code >= 400, route.operation_id
    assert silent <= UNNOTED
    if rights:
        assert {"page.asset", "page.login", "api.describe"} <= silent
    else:
        assert {"page.asset", "page.login"} <= silent, "what is for everybody"
        assert not silent & {"server.live", "server.ready", "page.live", "api.describe"}, "refusals are told"


async def _nothing() -> JSONResponse:
    return JSONResponse({})


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_new_operation_that_thinks_of_no_event_leaves_one(world: World, method: str) -> None:
    rules = {**RULES, "new.thing": RULES["entry.list"]}
    guard = world.api.guard
    guard._rules = rules
    world.api.app.add_api_route("/v1/new/{name}", _nothing, methods=[method], operation_id="new.thing")
    assert (await world.http.request(method, "/v1/new/one")).status_code == 200
    assert world.reads == [("new.thing", "one", "")]


async def test_a_change_has_its_own_event_and_no_other(world: World) -> None:
    created = await world.http.post("/v1/entries", json=ENTRY, headers={"X-Request-Id": "created-0"})
    assert world.events("created-0") == ["entry.create"]
    path = f"/v1/entries/{created.json()['id']}"
    await world.http.put(path, json={**ENTRY, "owner": "me"}, headers={"X-Request-Id": "updated-0"})
    assert world.events("updated-0") == ["entry.update"]
    await world.http.post("/v1/entries", json={}, headers={"X-Request-Id": "refused-0"})
    assert world.events("refused-0") == ["entry.create"], "the refusal"
    assert world.reads == []


async def test_what_changes_nothing_is_reading(world: World) -> None:
    """A dry run, the same again, a repetition with its key."""
    key = {"Idempotency-Key": "k"}
    created = (await world.http.post("/v1/entries", json=ENTRY, headers=key)).json()
    again = await world.http.post("/v1/entries", json=ENTRY, headers={**key, "X-Request-Id": "replayed-0"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert world.events("replayed-0") == ["entry.create"]
    path = f"/v1/entries/{created['id']}"
    await world.http.delete(path, params={"dry_run": "true"})
    await world.http.put(path, json=ENTRY)
    assert world.reads == [
        ("entry.create", "", ""),
        ("entry.delete", created["id"], "dry_run=true"),
        ("entry.update", created["id"], ""),
    ]
    assert len(world.fakes.audit.rows) == 1


async def test_questions_that_are_posted_are_reading(world: World) -> None:
    await world.http.post("/v1/explain", json={"selectors": ["unix:uid:1000"]})
    await world.http.post("/v1/grants:check", json={"secret": "db", "spiffe_id": "spiffe://example.org/web"})
    assert [operation for operation, _, _ in world.reads] == ["explain"]
    assert world.fakes.audit.rows[-1].event.action == "grant.check", "there is no such secret"


async def test_what_fails_is_told_as_a_failure(world: World) -> None:
    world.fakes.entries.fail = RuntimeError("a bug")
    answer = await world.http.post("/v1/entries", json=ENTRY, headers={"X-Request-Id": "failed-00"})
    assert answer.status_code == 500
    (event,) = [row.event for row in world.fakes.audit.rows if row.event.request_id == "failed-00"]
    assert (event.action, event.outcome.value, event.reason) == ("entry.create", "failure", "answered with status 500")


async def test_reading_says_what_was_asked_and_of_what(world: World) -> None:
    await world.http.get("/v1/entries", params={"spiffe_id": "spiffe://example.org/web", "label": "a=b", "limit": 5})
    await world.http.get("/v1/entries/e00000001")
    await world.http.get("/v1/agents/spiffe://example.org/sds/agent/a")
    assert world.reads == [
        ("entry.list", "", "label=a%3Db&spiffe_id=spiffe://example.org/web"),
        ("entry.show", "e00000001", ""),
        ("agent.show", "spiffe://example.org/sds/agent/a", ""),
    ]


async def test_the_same_again_is_noted_every_ten_minutes(world: World) -> None:
    for cursor in range(3):
        await world.http.get("/v1/entries", params={"limit": 5 + cursor})
    assert len(world.reads) == 1
    world.clock.advance(599)
    await world.http.get("/v1/entries")
    assert len(world.reads) == 1
    world.clock.advance(2)
    await world.http.get("/v1/entries")
    assert len(world.reads) == 2


async def test_reading_the_log_is_noted_once_for_following_it(world: World) -> None:
    world.door.rights = (AUDITOR,)
    for after in range(3):
        await world.http.get("/v1/audit", params={"after": after})
    await world.http.get("/v1/audit", params={"action": "entry."})
    assert world.reads == [("audit.tail", "", ""), ("audit.tail", "", "action=entry.")]


@pytest.mark.parametrize("path", ["/v1/audit", "/v1/audit:export", "/v1/entries:export"])
async def test_what_cannot_be_noted_is_not_read(world: World, path: str) -> None:
    world.fakes.audit.fail = StoreUnavailable(Reason.FULL)
    assert (await world.http.get(path)).status_code == 503
    assert (await world.http.get(path)).status_code == 503, "nor the next time"


async def test_what_is_not_sensitive_is_read_without(world: World) -> None:
    """While the database is away: one line and no waiting, and the first event afterwards says how much it missed."""
    missed = itertools.count()
    world.api.guard.noting.missed = lambda: next(missed)
    world.fakes.audit.fail = StoreUnavailable(Reason.LOST)
    with capture_logs() as logs:
        for path in ("/v1/entries", "/v1/agents", "/v1/statistics", "/v1/entries"):
            assert (await world.http.get(path)).status_code == 200
    assert world.fakes.audit.tries == 1
    assert [line["error"] for line in logs if "could not be noted" in line["event"]] == ["StoreUnavailable"]
    assert next(missed) == 4
    world.fakes.audit.fail = None
    world.clock.advance(noting.PAUSE + 1)
    await world.http.get("/v1/entries")
    ((_, reading),) = world.fakes.audit.reads
    assert (reading.operation, reading.missed) == ("entry.list", 4)
    await world.http.get("/v1/agents")
    assert world.fakes.audit.reads[-1][1].missed == 0


async def test_a_slow_database_holds_no_read_up_and_is_told_all_the_same() -> None:
    clock = FakeClock()
    fakes = FakeServices(clock.now)
    noted = noting.Noting(fakes.audit, clock.monotonic, patience=0.0)
    fakes.audit.slow = asyncio.Event()
    assert not await noted.usual(CALL, Reading("entry.list"))
    assert not await noted.usual(CALL, Reading("entry.list")), "it is on its way, and not there yet"
    assert not await noted.usual(CALL, Reading("agent.list"))
    assert (fakes.audit.tries, fakes.audit.reads) == (2, [])
    fakes.audit.slow.set()
    await until(lambda: len(fakes.audit.reads) == 2)
    await until(lambda: not noted._writing)
    assert await noted.usual(CALL, Reading("entry.list"))
    assert fakes.audit.tries == 2


async def test_who_varies_the_query_does_not_flood_the_log(world: World) -> None:
    for number in range(noting.DIFFERENT + 20):
        assert (await world.http.get(f"/v1/entries?owner=o{number}")).status_code == 200
    assert len(world.reads) == noting.DIFFERENT + 1
    last = world.fakes.audit.reads[-1][1]
    assert last == Reading("entry.list", more_than=noting.DIFFERENT)
    await world.http.get("/v1/agents")
    assert world.reads[-1][0] == "agent.list", "other operations are told as ever"
    before = len(world.reads)
    world.clock.advance(601)
    await world.http.get("/v1/entries?owner=o1")
    assert len(world.reads) == before + 1, "and these in the next ten minutes"


async def test_what_is_sensitive_is_never_summed_up(world: World) -> None:
    for number in range(noting.DIFFERENT + 20):
        await world.http.get("/v1/audit", params={"target": f"t{number}"})
    assert len(world.reads) == noting.DIFFERENT + 20


async def test_memory_is_bounded(world: World) -> None:
    noted = world.api.guard.noting
    for number in range(noting._MAX_READ + 10):
        noted._remember(("c", "o", number.to_bytes(4, "big")), 0.0)
    assert len(noted._read) == noting._MAX_READ
    for number in range(noting._MAX_WINDOWS + 10):
        noted._window(CALL, f"o{number}", 0.0)
    assert len(noted._windows) == noting._MAX_WINDOWS
