"""Who may ask, how many at once, what is told when something breaks, and what the log and the audit log keep."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from sds.admin.app import create_api, create_app
from sds.admin.door import user_name
from sds.admin.gate import Limits
from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.admin_server import Running, plenty
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.fakes.wait import until

CALLERS = plenty(FakeClock())
ENTRY: dict[str, Any] = {
    "spiffe_id": "spiffe://example.org/web",
    "parent_id": "spiffe://example.org/sds/agent/one",
    "selectors": ["unix:uid:1000"],
}


class Counting:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def admin_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((method, route, status))


class As:
    """The application as if the kernel had named this peer."""

    def __init__(self, app: Any, peer: Any) -> None:
        self.app = app
        self.peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "state": {} if self.peer is None else {"peer": self.peer}}, receive, send)


def client(app: Any, uid: int | None = 0) -> httpx.AsyncClient:
    peer = None if uid is None else SimpleNamespace(uid=uid, gid=uid, pid=4711)
    return httpx.AsyncClient(transport=httpx.ASGITransport(As(app, peer)), base_url="http://sds")


@pytest.fixture
def fakes() -> FakeServices:
    return FakeServices(FakeClock().now)


async def test_the_kernels_word_is_the_actor(http: httpx.AsyncClient, running: Running) -> None:
    await http.post("/v1/entries", json=ENTRY, headers={"X-Forwarded-User": "root", "X-Peer-Uid": "4"})
    actor = running.fakes.audit.rows[-1].event.actor
    assert (actor.kind.value, actor.id, actor.address) == ("admin", f"uid:{os.getuid()}", f"pid:{os.getpid()}")


@pytest.mark.parametrize("uid", [1, 999, 65534])
async def test_other_users_are_refused_and_audited(fakes: FakeServices, uid: int) -> None:
    app = create_app(fakes.services, allowed_uids=[0, 1000], callers=CALLERS)
    async with client(app, uid) as http:
        for method, path in (("GET", "/v1/entries"), ("POST", "/v1/tokens"), ("GET", "/nothing")):
            answer = await http.request(method, path)
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:sds:problem:forbidden"
    events = [row.event for row in fakes.audit.rows]
    assert [(each.action, each.outcome.value, each.actor.id) for each in events] == [
        ("admin.access", "refused", f"uid:{uid}")
    ] * 3


@pytest.mark.parametrize("uid", [0, 1000])
async def test_allowed_users(fakes: FakeServices, uid: int) -> None:
    async with client(create_app(fakes.services, allowed_uids=[0, 1000], callers=CALLERS), uid) as http:
        assert (await http.get("/v1/entries")).status_code == 200


async def test_without_kernel_credentials_nobody_gets_in(fakes: FakeServices) -> None:
    for allowed in ([0], [0, -1], []):
        async with client(create_app(fakes.services, allowed_uids=allowed, callers=CALLERS), None) as http:
            assert (await http.get("/v1/entries")).status_code == 403


async def test_a_refused_write_is_audited_and_a_refused_read_is_not(http: httpx.AsyncClient, running: Running) -> None:
    await http.get("/v1/entries/unknown")
    await http.put("/v1/entries/unknown", json=ENTRY)
    await http.post("/v1/entries", json={**ENTRY, "selectors": []})
    events = [row.event for row in running.fakes.audit.rows]
    assert [(each.action, each.outcome.value, each.target.id) for each in events] == [
        ("entry.update", "refused", "unknown"),
        ("entry.create", "refused", ""),
    ]
    assert events[1].reason.startswith("the request has 1 problem (selectors: at least one")


async def test_a_refusal_is_answered_even_if_it_cannot_be_audited(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.audit.fail = StoreUnavailable(Reason.FULL)
    with capture_logs() as logs:
        answer = await http.post("/v1/entries", json={**ENTRY, "selectors": []})
    assert answer.status_code == 422
    assert logs[0]["event"] == "a refusal could not be audited"


async def test_a_change_that_cannot_be_audited_is_not_made(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.audit.fail = StoreUnavailable(Reason.FULL)
    answer = await http.post("/v1/entries", json=ENTRY)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "no space left" in answer.json()["detail"]
    assert running.fakes.entries.rows == {}
    running.fakes.audit.fail = None
    assert (await http.post("/v1/entries", json=ENTRY)).status_code == 201


async def test_what_is_unmapped_is_a_500_without_detail(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.entries.fail = RuntimeError("CANARY")
    with capture_logs() as logs:
        for method, path in (("GET", "/v1/entries"), ("POST", "/v1/entries"), ("DELETE", "/v1/entries/x")):
            answer = await http.request(method, path, json=ENTRY if method == "POST" else None)
            problem = answer.json()
            assert answer.status_code == 500
            assert problem["type"] == "urn:sds:problem:internal"
            assert "CANARY" not in answer.text
        # The server, a thread of its own, writes its lines after the answer.
        await until(lambda: len([each for each in logs if each["event"] == "admin request"]) == 3)
    failed = [each for each in logs if each["log_level"] == "error"]
    assert len(failed) == 3
    running.fakes.entries.fail = None
    assert (await http.get("/v1/entries")).status_code == 200


async def test_requests_are_counted_and_logged_by_route_not_by_path(fakes: FakeServices) -> None:
    counting = Counting()
    app = create_app(fakes.services, allowed_uids=[0], callers=CALLERS, observer=counting)
    async with client(app) as http:
        with capture_logs() as logs:
            await http.get("/v1/entries/CANARY")
            await http.get("/CANARY")
            await http.request("QUERY", "/v1/entries")
            await http.post("/v1/tokens", json={"spiffe_id": "CANARY"})
            await http.post("/v1/tokens")
    assert counting.seen == [
        ("GET", "/v1/entries/{entry_id:path}", 404),
        ("GET", "unmatched", 404),
        ("OTHER", "/v1/entries", 405),
        ("POST", "/v1/tokens", 422),
        ("POST", "/v1/tokens", 201),
    ]
    text = repr(logs)
    assert "CANARY" not in text
    assert "the-secret-token" not in text


async def test_too_many_at_once(fakes: FakeServices) -> None:
    app = create_app(fakes.services, allowed_uids=[0], callers=CALLERS, limits=Limits(concurrent=3, waiting=2))
    async with client(app) as http:
        waiting = [asyncio.ensure_future(http.get("/v1/audit", params={"wait": "30"})) for _ in range(2)]
        await asyncio.sleep(0.05)
        third = await http.get("/v1/audit", params={"wait": "1"})
        assert (third.status_code, third.headers["retry-after"]) == (429, "1")
        assert (await http.get("/v1/entries")).status_code == 200  # a plain request still fits
        await http.post("/v1/entries", json=ENTRY)
        done = await asyncio.gather(*waiting)
        assert [each.json()["events"][0]["action"] for each in done] == ["entry.create"] * 2
        assert (await http.get("/v1/audit", params={"wait": "1"})).status_code == 200

    app = create_app(fakes.services, allowed_uids=[0], callers=CALLERS, limits=Limits(concurrent=1))
    async with client(app) as http:
        slow = asyncio.ensure_future(http.get("/v1/audit", params={"wait": "1", "after": "99"}))
        await asyncio.sleep(0.05)
        assert (await http.get("/v1/entries")).status_code == 429
        await slow
        assert (await http.get("/v1/entries")).status_code == 200


async def test_other_kinds_of_connections_are_closed(fakes: FakeServices) -> None:
    app = create_app(fakes.services, allowed_uids=[0], callers=CALLERS)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await app({"type": "websocket", "path": "/v1/entries", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_answers_are_not_to_be_stored(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/tokens")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_api_describes_itself(http: httpx.AsyncClient) -> None:
    document = (await http.get("/v1/openapi.json")).json()
    operations = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    routes = create_api(FakeServices(FakeClock().now).services).app.routes
    assert operations == {one.operation_id for one in routes if one.include_in_schema}
    schemas = document["components"]["schemas"]
    references = {ref.rsplit("/", 1)[-1] for ref in _references(document)}
    assert references <= set(schemas)
    assert {"EntryIn", "EntryAgain", "ApplyIn", "TokenIn", "BanIn", "MintIn", "VerifyIn"} <= set(schemas)
    assert {"PrepareIn", "ActivateIn", "RevokeIn", "RevocationIn"} <= set(schemas)
    assert {"SecretIn", "SecretAgain", "ValueIn", "RollbackIn", "GrantIn", "CheckIn"} <= set(schemas)
    assert schemas["EntryIn"]["additionalProperties"] is False


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in _references(inner)]
    return [each for inner in value for each in _references(inner)] if isinstance(value, list) else []


def test_user_names() -> None:
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "uid:3999999999"
    assert user_name(-1) == "uid:-1"
