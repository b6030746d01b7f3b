"""The admin API on the network: who gets in, what is refused before anybody is known, and what acts at once."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.contract.access.world import SESSION, World, serving, svid


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


async def test_tokens_of_each_role_and_what_ends_them(world: World) -> None:
    viewer, admin = world.client(await world.token("viewer")), world.client(await world.token("admin"))
    answer = await viewer.get("/v1/whoami")
    assert answer.json()["rights"] == [{"role": "viewer", "below": None, "labels": {}}]
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert (await viewer.get("/v1/entries")).status_code == 200
    assert (await viewer.get("/v1/audit")).status_code == 403
    assert (await viewer.post("/v1/tokens", json={})).status_code == 403
    listed = (await admin.get("/v1/access/tokens")).json()["tokens"]
    assert "token" not in listed[0]
    assert listed[0]["last_used_at"] is not None
    assert (await admin.delete(f"/v1/access/tokens/{listed[0]['id']}")).status_code == 200
    gone = await viewer.get("/v1/entries")
    assert gone.status_code == 401
    assert gone.headers["www-authenticate"].startswith("Bearer")
    world.node.clock.offset = timedelta(days=31)
    assert (await admin.get("/v1/entries")).status_code == 401
    refused = [each for each in await world.node.events("entry.list") if each["outcome"] == "refused"]
    assert refused == []
    assert [each["outcome"] for each in await world.node.events("audit.tail")] == ["refused"]


async def test_nobody_unknown_learns_anything(world: World) -> None:
    nobody = world.client()
    for path in ("/v1/entries", "/v1/openapi.json", "/metrics", "/live", "/nothing"):
        assert (await nobody.get(path)).status_code == 401, path
    page = await nobody.get("/entries?label=a%3Db", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2Fentries%3Flabel%3Da%253Db")
    assert (await nobody.get("/v1/entries", headers={"accept": "text/html"})).status_code == 401


async def test_another_host_name_leads_nowhere(world: World) -> None:
    """DNS rebinding: the browser is told that evil.example is 127.0.0.1."""
    admin = world.client(await world.token())
    for host in ("evil.example", f"evil.example:{world.port}", "localhost:1", "", "localhost@evil.example"):
        answer = await admin.get("/v1/entries", headers={"Host": host})
        assert answer.status_code in {400, 421}, host
    forwarded = {"X-Forwarded-Host": "localhost", "Host": "evil.example", "Forwarded": "host=localhost"}
    assert (await admin.get("/v1/entries", headers=forwarded)).status_code == 421
    assert (await admin.get("/v1/entries", headers={"Host": f"LOCALHOST:{world.port}"})).status_code == 200
    status = await _two_hosts(world)
    assert status in {400, 421}


async def _two_hosts(world: World) -> int:
    """httpx sends one; what is sent twice, someone reads the other way round."""
    reader, writer = await asyncio.open_connection("localhost", world.port, ssl=world.pki.client())
    writer.write(b"GET /v1/entries HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    await writer.drain()
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_no_proxy_is_believed(world: World) -> None:
    admin = world.client(await world.token(), **{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"})
    assert (await admin.post("/v1/entries", json={})).status_code == 422
    (event,) = await world.node.events("entry.create")
    assert event["actor"]["address"] == "127.0.0.1"


async def test_bad_credentials_are_all_alike(world: World) -> None:
    zeros = "0" * 80
    for value in ("Bearer", "Basic cm9vdDpyb290", "Bearer sds_at_", "Bearer x.y.z", f"Bearer sds_at_{zeros}"):
        answer = await world.client().get("/v1/entries", headers={"Authorization": value})
        assert answer.status_code == 401
        assert answer.json()["detail"] == "these credentials are not known here, or hold no more"


async def test_what_does_not_hold_is_not_made_up_for(world: World) -> None:
    session = await world.session(await world.token())
    assert (await session.get("/v1/entries")).status_code == 200
    wrong = {"Authorization": f"Bearer sds_at_{'0' * 80}"}
    assert (await session.get("/v1/entries", headers=wrong)).status_code == 401


async def test_guessing_tokens_is_slowed_down(world: World) -> None:
    world.node.clock.stop()
    good = await world.token()
    for number in range(10):
        answer = await world.client(f"sds_at_{number:080x}").get("/v1/entries")
        assert answer.status_code == 401
    slowed = await world.client(f"sds_at_{11:080x}").get("/v1/entries")
    assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "5")
    login = await world.client(Origin=world.url).post("/login", data={"token": good})
    assert login.status_code == 429
    assert len([e for e in await world.node.events("admin.access") if e["outcome"] == "refused"]) == 10


async def test_one_caller_cannot_take_all(tmp_path: Path) -> None:
    async with serving(tmp_path, admin__limits__caller_burst="5", admin__limits__caller_rate="0.5") as world:
        world.node.clock.stop()
        busy, other = world.client(await world.token()), world.client(await world.token("viewer"))
        found = [(await busy.get("/v1/whoami")).status_code for _ in range(6)]
        assert found == [200] * 5 + [429]
        assert (await busy.get("/v1/whoami")).headers["retry-after"] == "2"
        assert (await other.get("/v1/whoami")).status_code == 200
        assert await world.node.metric("sds_server_admin_turned_away_total", reason="rate") == 2


async def test_an_svid_whose_entry_is_admin(world: World) -> None:
    """On one connection: the handshake was long ago when the binding, the certificate and the time change."""
    identity = await svid(world, "/admin/ci")
    client = world.client(identity=identity)
    assert (await client.get("/v1/entries")).status_code == 403
    binding = await world.bind("spiffe://example.org/admin/ci", "operator")
    who = (await client.get("/v1/whoami")).json()
    assert (who["kind"], who["id"], who["rights"][0]["role"]) == ("svid", "spiffe://example.org/admin/ci", "operator")
    await world.node.api("DELETE", f"/v1/access/bindings/{binding}")
    assert (await client.get("/v1/entries")).status_code == 403
    await world.bind("spiffe://example.org/admin/ci", "operator")
    assert (await client.get("/v1/entries")).status_code == 200
    world.node.clock.offset = timedelta(days=2)
    assert (await client.get("/v1/entries")).status_code == 401
    world.node.clock.offset = timedelta(0)
    assert (await client.get("/v1/entries")).status_code == 200
    revoke = {"kind": "serial", "value": identity.svid.serial, "dry_run": False}
    await world.node.api("POST", "/v1/revocations", revoke)
    assert (await client.get("/v1/entries")).status_code == 401


async def test_certificates_of_others_do_not_get_in(world: World, tmp_path: Path) -> None:
    foreign = world.pki.issue().write(tmp_path, "foreign")
    tls = world.pki.client()
    tls.load_cert_chain(*foreign)
    async with httpx.AsyncClient(base_url=world.url, verify=tls, trust_env=False) as client:
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await client.get("/v1/entries")


async def test_the_relays_own_credentials_open_no_door(world: World) -> None:
    """Behind the relay the HTTP server sees this very process, which on the local socket may do anything."""
    assert (await world.client().get("/v1/whoami")).status_code == 401
    assert (await world.node.admin.get("/v1/whoami")).json()["kind"] == "local"


async def test_the_bootstrap_token_is_for_the_local_socket(world: World) -> None:
    first = await world.node.api("POST", "/v1/access/tokens:bootstrap")
    admin = world.client(first["token"])
    assert (await admin.get("/v1/whoami")).json()["rights"][0]["role"] == "admin"
    assert (await admin.post("/v1/access/tokens:bootstrap")).status_code == 403
    second = await world.node.api("POST", "/v1/access/tokens:bootstrap")
    assert (await admin.get("/v1/whoami")).status_code == 401
    events = await world.node.events("access.token.create")
    assert all(first["token"] not in str(event) and second["token"] not in str(event) for event in events)


async def test_the_cookie_of_a_session(world: World) -> None:
    client = world.client(Origin=world.url)
    answer = await client.post("/login", data={"token": await world.token(), "next": "//evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{SESSION}=")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()
    failed = await client.post("/login", data={"token": "sds_at_wrong", "next": "/entries"})
    assert (failed.status_code, failed.headers["location"]) == (303, "/login?failed=1&next=%2Fentries")
    assert [each["outcome"] for each in await world.node.events("admin.login")] == ["success", "refused"]


async def test_paths_lead_past_no_rule(world: World) -> None:
    """Path injection: whatever a path is made of, it is the route's rule that counts, or there is no route."""
    viewer = world.client(await world.token("viewer"))
    for path in (
        "/v1/entries/..%2faudit", "/v1/entries/%2e%2e/audit", "/v1//audit", "/v1/audit/", "/v1/audit%0a", "/v1/audit%00",
        "/v1/%61udit", "/V1/audit", "/v1/entries/../audit", "/v1/audit;x=y", "//localhost/v1/audit", "/v1/audit%2f",
        "/v1\\audit", "/login/../v1/audit", "/login%2f..%2fv1/audit", "/login/oidc/../../v1/audit",
    ):  # fmt: skip
        assert await _raw_status(world, path, viewer.headers["authorization"]) in {400, 403, 404}, path
        assert await _raw_status(world, path) in {400, 401, 404}, path
    assert (await viewer.get("/v1/audit", headers={"X-Original-URL": "/v1/entries"})).status_code == 403
    override = {"X-HTTP-Method-Override": "GET", "X-Rewrite-URL": "/v1/entries"}
    assert (await viewer.post("/v1/tokens", headers=override)).status_code == 403


async def _raw_status(world: World, path: str, authorization: str = "") -> int:
    """As no client library would send it."""
    reader, writer = await asyncio.open_connection("localhost", world.port, ssl=world.pki.client())
    more = f"Authorization: {authorization}\r\n" if authorization else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n".encode("latin-1"))
    await writer.drain()
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_nothing_of_a_request_gets_into_headers(world: World) -> None:
    """Header injection: by a login's page, a request id, a path that a browser is led from."""
    client = world.client(Origin=world.url)
    wanted = "/a%0d%0aSet-Cookie:x=y"
    for then in ("/a\r\nSet-Cookie: x=y", "/\u010d\u010aX: y", "//evil\r\nX: y"):
        failed = await client.post("/login", data={"token": "no", "next": then})
        assert failed.headers["location"] == "/login?failed=1&next=%2F"
    answer = await client.get(wanted, headers={"accept": "text/html", "X-Request-Id": "abcd\tefgh-and-more"})
    assert answer.status_code in {303, 401}
    for response in (failed, answer):
        assert "set-cookie" not in response.headers
        assert "x" not in response.headers
        assert "\t" not in response.headers["x-request-id"]
