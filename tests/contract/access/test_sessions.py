"""Sessions of people: nobody can put one upon another, none is used by another site's page, each one ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sds.server.access.callers import cookie_hash
from sds.store.access.records import SessionRecord
from sds.store.unit_of_work import UnitOfWork
from tests.contract.access.world import SESSION, World, serving

BAN = "/v1/agents/spiffe%3A%2F%2Fexample.org%2Fsds%2Fagent%2Fx/ban"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


def _latest(uow: UnitOfWork) -> tuple[SessionRecord, ...]:
    """Sessions of the newest token."""
    return uow.admin_sessions.of(f"token:{uow.api_tokens.page().items[-1].id}")


async def sessions(world: World) -> tuple[SessionRecord, ...]:
    return await world.node.server._parts.store.read(_latest)


async def csrf_of(world: World) -> str:
    """As the pages put it into their forms: they are handed the call."""
    (record,) = await sessions(world)
    return record.csrf


async def test_a_session_that_was_put_upon_a_browser_is_never_taken(world: World) -> None:
    """Session fixation: the attacker's cookie, made up or real, is not the one that a login vouches for."""
    attacker = await world.session(await world.token("viewer"))
    planted = attacker.cookies[SESSION]
    victim = world.client(Origin=world.url)
    for cookie in ("f" * 64, planted):
        victim.cookies.clear()
        answer = await victim.post(
            "/login", data={"token": await world.token()}, headers={"Cookie": f"{SESSION}={cookie}"}
        )
        assert answer.status_code == 303
        given = answer.cookies[SESSION]
        assert given != cookie
        admin = await world.client().get("/v1/whoami", headers={"Cookie": f"{SESSION}={given}"})
        assert admin.json()["rights"][0]["role"] == "admin"
        assert (await world.client().get("/v1/whoami", headers={"Cookie": f"{SESSION}={cookie}"})).status_code == 401
    stored = await world.node.server._parts.store.read(lambda uow: [uow.admin_sessions.find(x) for x in (given, "")])
    assert stored == [None, None]  # by its hash alone


async def test_a_cookie_alone_changes_nothing(world: World) -> None:
    """CSRF: the browser adds the cookie to whatever any page makes it send."""
    client = await world.session(await world.token())
    body = {"reason": "x"}
    assert (await client.post(BAN, json=body)).status_code == 403
    assert (await client.post(BAN, json=body, headers={"X-CSRF-Token": "0" * 64})).status_code == 403
    csrf = await csrf_of(world)
    assert (await client.post(f"{BAN}?csrf={csrf}", json=body)).status_code == 403
    assert (await client.post(BAN, data={"csrf": csrf})).status_code == 403  # the API takes it in a header alone
    assert (await client.post(BAN, json=body, headers={"X-CSRF-Token": csrf})).status_code == 404
    assert (await client.get("/v1/entries")).status_code == 200
    assert {each["outcome"] for each in await world.node.events("agent.ban")} == {"refused"}


async def test_what_another_site_sends_is_refused(world: World) -> None:
    client = await world.session(await world.token())
    csrf = await csrf_of(world)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{world.port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        given = {"X-CSRF-Token": csrf, **headers}
        answer = await client.post(BAN, json={}, headers=given)
        assert (answer.status_code, "another site" in answer.json()["detail"]) == (403, True), headers
        login = await client.post("/login", data={"token": "x"}, headers=given)
        assert login.status_code == 403
    assert (await client.get("/v1/entries", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_logging_out_here_and_everywhere(world: World) -> None:
    token = await world.token()
    one, two = await world.session(token), await world.session(token)
    assert (await one.post("/logout", data={})).status_code == 403
    records = await sessions(world)
    assert len(records) == 2
    csrf = {record.hash: record.csrf for record in records}
    mine, others = (csrf[cookie_hash(client.cookies[SESSION])] for client in (one, two))
    assert (await one.post("/logout", data={"csrf": others})).status_code == 403
    done = await one.post("/logout", data={"csrf": mine, "everywhere": "1"})
    assert (done.status_code, done.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in done.headers["set-cookie"]
    for client in (one, two):
        client.cookies.set(SESSION, "0" * 64)
        assert (await client.get("/v1/whoami")).status_code == 401
    assert not await sessions(world)
    assert [each["details"]["everywhere"] for each in await world.node.events("admin.logout")][-1] is True


async def test_sessions_end_by_themselves(world: World) -> None:
    clock = world.node.clock
    client = await world.session(await world.token())
    for minutes in range(0, 700, 25):  # used now and then, it lives on, to its absolute end
        clock.offset = timedelta(minutes=minutes)
        assert (await client.get("/v1/whoami")).status_code == 200, minutes
    clock.offset = timedelta(hours=12, seconds=1)
    assert (await client.get("/v1/whoami")).status_code == 401
    idle = await world.session(await world.token())
    clock.offset += timedelta(minutes=31)
    assert (await idle.get("/v1/whoami")).status_code == 401


async def test_a_session_has_no_more_than_its_token(world: World) -> None:
    token = await world.token("viewer", ttl_seconds="10m")
    client = await world.session(token)
    assert (await client.get("/v1/audit")).status_code == 403
    world.node.clock.offset = timedelta(minutes=11)
    assert (await client.get("/v1/entries")).status_code == 401


async def test_of_too_many_sessions_the_longest_unused_ends(world: World) -> None:
    token = await world.token()
    clients = []
    for number in range(11):
        world.node.clock.offset = timedelta(seconds=number)
        clients.append(await world.session(token))
    assert (await clients[0].get("/v1/whoami")).status_code == 401
    assert [(await each.get("/v1/whoami")).status_code for each in clients[1:]] == [200] * 10


async def test_two_cookies_of_one_name_are_none(world: World) -> None:
    """Cookie tossing: which of the two is meant is not guessed."""
    client = await world.session(await world.token())
    both = f"{SESSION}={client.cookies[SESSION]}; {SESSION}={'0' * 64}"
    assert (await world.client().get("/v1/whoami", headers={"Cookie": both})).status_code == 401
