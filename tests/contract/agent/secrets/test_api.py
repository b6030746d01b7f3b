"""Applications read secrets over HTTP on a Unix socket: who calls decides, and nothing that the request says."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sds.config import load_agent_config
from sds.config.problems import ConfigError
from tests.contract.agent.test_agent import World

CANARY = "canary-of-an-application"
MEANT = {"X-SDS-Request": "true"}


@asynccontextmanager
async def application(world: World, headers: dict[str, str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """One connection, as long as it is used."""
    transport = httpx.AsyncHTTPTransport(uds=str(world.folder / "api.sock"))
    given = MEANT if headers is None else headers
    async with httpx.AsyncClient(transport=transport, base_url="http://sds", headers=given, timeout=60) as client:
        yield client


@asynccontextmanager
async def serving(world: World, **flags: object) -> AsyncIterator[None]:
    async with world.running(**{"api_socket": str(world.folder / "api.sock"), **flags}):
        await world.ready()
        yield


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def metric(world: World, outcome: str) -> float:
    text = (await world.ask("/metrics")).text
    line = next(line for line in text.splitlines() if f'sds_agent_api_requests_total{{outcome="{outcome}"}}' in line)
    return float(line.split()[-1])


async def test_a_secret_is_read_and_its_changes_are_waited_for(world: World) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY.encode(), "e1")
    async with serving(world), application(world) as http:
        answer = await http.get("/v1/secrets/password")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["name"], body["kind"], body["version"]) == ("password", "generic", "1")
        assert (body["value"], body["encoding"], body["not_after"]) == (CANARY, "utf-8", None)
        assert answer.headers["cache-control"] == "no-store"
        has = {"if-none-match": answer.headers["etag"]}
        assert (await http.get("/v1/secrets/password", headers=has)).status_code == 304
        assert (await http.get("/v1/secrets/password", params={"wait": 1}, headers=has)).status_code == 304
        waiting = asyncio.create_task(http.get("/v1/secrets/password", params={"wait": 50}, headers=has))
        await until(lambda: not waiting.done())
        secrets.put("password", "2", b"newer")
        changed = await waiting
        assert (changed.status_code, changed.json()["value"], changed.json()["version"]) == (200, "newer", "2")
        assert changed.headers["etag"] != has["if-none-match"]
        assert (await metric(world, "served"), await metric(world, "unchanged")) == (2, 2)


async def test_the_shapes_of_an_answer(world: World) -> None:
    secrets = world.server.secrets
    secrets.put("login", "7", {"user": b"u", "password": CANARY.encode()}, "e1", kind="map")
    secrets.put("app/binary", "1", b"\xff\x00", "e1")
    async with serving(world), application(world) as http:
        login = await http.get("/v1/secrets/login")
        assert login.json()["fields"] == {"user": "u", "password": CANARY}
        one = await http.get("/v1/secrets/login", params={"field": "password"})
        assert (one.content, one.headers["content-type"]) == (CANARY.encode(), "application/octet-stream")
        assert one.headers["etag"] != login.headers["etag"]
        missing = await http.get("/v1/secrets/login", params={"field": "nope"})
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        binary = (await http.get("/v1/secrets/app/binary")).json()
        assert (binary["encoding"], base64.b64decode(binary["value"])) == ("base64", b"\xff\x00")


@pytest.mark.parametrize("header", [{}, {"X-SDS-Request": "false"}, {"X-SDS-Request": ""}, {"X-Other": "true"}])
async def test_a_request_that_nobody_meant_gets_nothing(world: World, header: dict[str, str]) -> None:
    world.server.secrets.put("password", "1", CANARY.encode(), "e1")
    async with serving(world), application(world, header) as http:
        answer = await http.get("/v1/secrets/password")
        assert (answer.status_code, CANARY in answer.text) == (403, False)
        assert "X-SDS-Request" in answer.json()["detail"]
        assert not world.server.secrets.wanted, "the server was not asked"
        assert await metric(world, "refused") == 1


async def test_what_is_not_granted_looks_like_what_is_not_there(world: World) -> None:
    world.server.secrets.put("others", "1", CANARY.encode())
    async with serving(world), application(world) as http:
        answers = [await http.get(f"/v1/secrets/{name}") for name in ("others", "nothing", "spiffe://x/y", "a b")]
        assert [answer.status_code for answer in answers] == [404] * 4
        assert answers[0].json() == answers[1].json()
        world.server.secrets.put("others", "1", CANARY.encode(), "e1")
        granted = await http.get("/v1/secrets/others", params={"wait": 50})
        assert granted.json()["value"] == CANARY


@pytest.mark.parametrize("wait", ["-1", "601", "1.5", "x", "99999", "\u0661"])
async def test_a_wait_that_makes_no_sense(world: World, wait: str) -> None:
    async with serving(world), application(world) as http:
        answer = await http.get("/v1/secrets/password", params={"wait": wait})
        assert (answer.status_code, "0 to 600" in answer.json()["detail"]) == (422, True)


async def test_other_methods_and_paths(world: World) -> None:
    async with serving(world), application(world) as http:
        assert (await http.post("/v1/secrets/password", content=b"")).status_code == 405
        assert (await http.get("/v1/status")).status_code == 404
        assert (await http.get("/metrics")).status_code == 404


async def test_a_server_that_says_nothing(world: World) -> None:
    world.server.secrets.mute = True
    async with serving(world, **{"secrets.patience": "50ms"}), application(world) as http:
        answer = await http.get("/v1/secrets/password")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0


async def test_values_leave_with_the_connection(world: World) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY.encode(), "e1")
    async with serving(world):
        async with application(world) as http:
            assert (await http.get("/v1/secrets/password")).status_code == 200
            assert ("e1", "password") in secrets.wanted
        await until(lambda: ("e1", "password") not in secrets.wanted)


async def test_who_is_no_workload_gets_nothing(world: World) -> None:
    """The same user but another binary: the kernel tells them apart, whatever they send."""
    await world.server.put("e1", "/web", "unix:path:/nowhere")
    world.server.secrets.put("password", "1", CANARY.encode(), "e1")
    async with serving(world), application(world) as http:
        answer = await http.get("/v1/secrets/password")
        assert (answer.status_code, CANARY in answer.text) == (404, False)
        assert not world.server.secrets.wanted


async def test_curl_needs_no_library(world: World) -> None:
    world.server.secrets.put("password", "1", CANARY.encode(), "e1")
    program = (
        "import http.client, socket, sys\n"
        "c = http.client.HTTPConnection('sds'); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); c.sock = s\n"
        "c.request('GET', '/v1/secrets/password?field=', headers={'X-SDS-Request': 'true'})\n"
        "sys.stdout.buffer.write(c.getresponse().read())\n"
    )
    async with serving(world):
        command = [sys.executable, "-c", program, str(world.folder / "api.sock")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=60)
        assert done.stdout.decode() == CANARY


def test_two_sockets_at_one_path(tmp_path: Path) -> None:
    flags = {"server": "h:1", "socket": str(tmp_path / "a"), "api_socket": str(tmp_path / "a")}
    with pytest.raises(ConfigError, match="same path as socket"):
        load_agent_config(None, {}, flags)
