"""The local socket as a browser reaches it by a tunnel, and how often others than its owners may ask."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from sds.admin.access.roles import EVERYTHING, Right, Role
from sds.admin.app import create_api
from sds.admin.door import LocalDoor
from sds.admin.errors import WrongHost
from sds.admin.hosts import ForeignSite, check_host, check_origin, is_loopback
from sds.admin.login.limits import DoorLimits, DoorRates
from sds.net.limits import Rate
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock

OWNER, OTHER, STRANGER = 999, 1000, 1001


class Counted(Counter[str]):
    def admin_turned_away(self, reason: str) -> None:
        self[reason] += 1


class Socket:
    """The local socket without the socket: whoever asks is who a test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.turned_away = Counted()
        self.fakes = FakeServices(self.clock.now)
        self.asked_for: list[tuple[str, ...]] = []
        some, few = Rate(1000.0, 1000), Rate(0.5, 3)
        limits = DoorLimits(DoorRates(address=some, caller=few, failed=some), self.clock.monotonic)
        door = LocalDoor(frozenset({0, OWNER}), limits, self.bound, self.turned_away)
        self.app: Any = create_api(self.fakes.services, clock=self.clock).behind(door)

    async def bound(self, subjects: tuple[str, ...]) -> tuple[Right, ...]:
        self.asked_for.append(subjects)
        return (Right(Role.VIEWER, EVERYTHING),) if subjects == (f"uid:{OTHER}",) else ()

    def client(self, uid: int = OWNER, url: str = "http://sds") -> httpx.AsyncClient:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app({**scope, "state": {"peer": SimpleNamespace(uid=uid, gid=uid, pid=7)}}, receive, send)

        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url)

    def refused(self) -> list[str]:
        return [row.event.reason for row in self.fakes.audit.rows if row.event.action == "admin.access"]


@pytest.fixture
def local() -> Socket:
    return Socket()


async def test_a_name_that_a_foreign_dns_leads_to_the_tunnel_opens_nothing(local: Socket) -> None:
    """The browser was told that evil.example is 127.0.0.1, where the tunnel listens."""
    for host in ("evil.example", "evil.example:9000", "localhost.evil.example:9000", "127.0.0.1.evil.example", ""):
        async with local.client() as http:
            for method, path in (("GET", "/v1/entries"), ("GET", "/"), ("POST", "/v1/tokens"), ("GET", "/ready")):
                answer = await http.request(method, path, headers={"Host": host})
                assert answer.status_code == 421, (host, path)
                assert answer.json()["type"] == "urn:sds:problem:wrong-host"
                assert "localhost" in answer.json()["detail"]
    assert local.turned_away == {"host": 20}
    assert [row.event.action for row in local.fakes.audit.rows] == []


@pytest.mark.parametrize(
    "url", ["http://sds", "http://localhost", "http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000"]
)
async def test_names_that_lead_here(local: Socket, url: str) -> None:
    async with local.client(url=url) as http:
        assert (await http.get("/v1/entries")).status_code == 200
        assert (await http.post("/v1/tokens", headers={"Origin": url})).status_code == 201
    assert not local.turned_away


async def test_what_another_site_sends_through_a_tunnel_is_refused(local: Socket) -> None:
    url = "http://localhost:9000"
    foreign = (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9001"},
        {"Origin": "http://[localhost:9000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": url},
        {"Sec-Fetch-Site": "none"},
    )
    async with local.client(url=url) as http:
        for number, headers in enumerate(foreign):
            local.clock.advance(60)
            answer = await http.post("/v1/tokens", headers=headers)
            assert answer.status_code == 403, headers
            assert len(local.refused()) == number + 1
        assert (await http.get("/v1/entries", headers={"Sec-Fetch-Site": "none"})).status_code == 200
        own = {"Sec-Fetch-Site": "same-origin", "Origin": url}
        assert (await http.post("/v1/tokens", headers=own)).status_code == 201
    assert set(local.refused()) == {"sent by another site"}
    assert local.turned_away == {"origin": len(foreign)}


async def test_another_site_does_not_fill_the_audit_log(local: Socket) -> None:
    async with local.client(url="http://localhost:9000") as http:
        found = [(await http.post("/v1/tokens", headers={"Origin": "null"})).status_code for _ in range(20)]
        assert found == [403] * 3 + [429] * 17
        assert len(local.refused()) == 3
        assert (await http.get("/v1/entries")).status_code == 200  # the administrator goes on


async def test_users_of_the_host_are_limited_each_for_themselves(local: Socket) -> None:
    async with local.client(OTHER) as other, local.client(STRANGER) as stranger:
        assert [(await other.get("/v1/entries")).status_code for _ in range(4)] == [200] * 3 + [429]
        limited = await other.get("/v1/entries")
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "2")
        assert [(await stranger.get("/v1/entries")).status_code for _ in range(9)] == [403] * 3 + [429] * 6
        local.clock.advance(2)
        assert (await other.get("/v1/entries")).status_code == 200
    assert len(local.refused()) == 3
    assert len(local.asked_for) == 7  # what is refused for its rate costs no look into the database
    assert local.turned_away == {"rate": 8, "role": 3}


@pytest.mark.parametrize("uid", [0, OWNER])
async def test_root_and_the_servers_own_user_are_never_kept_out(local: Socket, uid: int) -> None:
    async with local.client(uid) as http:
        assert {(await http.get("/v1/entries")).status_code for _ in range(50)} == {200}


def test_what_is_this_host() -> None:
    for host in ("sds", "localhost", "localhost:1", "127.0.0.1", "127.8.9.1:65535", "[::1]", "[::1]:9000"):
        assert is_loopback(host), host
    for host in (
        "", "sds:80", "sds.example", "localhost:", "localhost:x", "localhost:123456", "localhost.", "0.0.0.0", "[::]",
        "128.0.0.1", "127.0.0.1.", "127.0.0.01", "127.1", "2130706433", "::1", "[::1", "[127.0.0.1", "[::1]x",
        "evil@localhost", "localhost@evil", "localhost/evil", "a.localhost", "l\N{LATIN SMALL LETTER O WITH STROKE}calhost",
    ):  # fmt: skip
        assert not is_loopback(host), host


@given(st.text(alphabet="localhsd127.:[]0@/ ", max_size=24))
def test_no_header_is_taken_for_this_host_but_those(host: str) -> None:
    if is_loopback(host):
        assert host == "sds" or host.startswith(("localhost", "127.", "[")), host


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.text(max_size=40))
def test_no_origin_breaks_the_check(origin: str, host: str) -> None:
    headers = Headers({"origin": origin})
    try:
        check_origin(headers, host, ("http",))
    except ForeignSite:
        return
    assert origin.lower().startswith("http:")


def test_one_host_header() -> None:
    for raw in ([], [(b"host", b"sds"), (b"host", b"sds")]):
        with pytest.raises(WrongHost, match="why"):
            check_host(Headers(raw=raw), is_loopback, "why")
    assert check_host(Headers(raw=[(b"host", b"LocalHost:1")]), is_loopback, "why") == "localhost:1"
