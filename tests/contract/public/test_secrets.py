"""Secrets for workloads without an agent, from a real server over HTTPS: a JWT-SVID says who asks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sds.config import ConfigError, load_server_config
from sds.demo.ports import free_ports
from tests.contract.node.harness import Node, running
from tests.contract.node.secret_kit import Operator
from tests.contract.public.pki import WebPki

WEB, OTHER = "spiffe://example.org/web", "spiffe://example.org/other"
SERVER = "spiffe://example.org/sds/server"
CANARY = "canary-of-a-lambda"


@dataclass
class World:
    node: Node
    operator: Operator
    url: str
    tls: ssl.SSLContext

    async def token(self, spiffe_id: str = WEB, audience: str = SERVER, **more: Any) -> str:
        body = {"audience": [audience], "spiffe_id": spiffe_id, **more}
        return str((await self.node.api("POST", "/v1/jwt:mint", body))["token"])

    async def get(self, name: str, token: str | None = None, params: Any = None, **headers: str) -> httpx.Response:
        given = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(verify=self.tls, trust_env=False, timeout=90) as client:
            return await client.get(f"{self.url}/v1/secrets/{name}", params=params, headers=given | headers)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


@asynccontextmanager
async def serving(folder: Path, **settings: object) -> AsyncIterator[World]:
    pki = WebPki()
    cert_file, key_file = map(str, pki.issue().write(folder))
    (port,) = free_ports(1)
    async with running(
        endpoints__secrets__listen=f"127.0.0.1:{port}",
        endpoints__secrets__profile="https_web",
        endpoints__secrets__cert_file=cert_file,
        endpoints__secrets__key_file=key_file,
        **settings,
    ) as node:
        yield World(node, Operator(node), f"https://localhost:{port}", pki.client())


async def until_answers(world: World, status: int, name: str, token: str) -> httpx.Response:
    async with asyncio.timeout(30):
        while (answer := await world.get(name, token)).status_code != status:
            await asyncio.sleep(0.05)
        return answer


async def test_who_is_granted_gets_it_and_its_changes(world: World) -> None:
    await world.node.entry("/web")
    secret = await world.operator.define("password", WEB)
    await world.operator.put(secret, CANARY.encode())
    token = await world.token()
    answer = await until_answers(world, 200, "password", token)
    assert answer.json()["value"] == CANARY
    assert answer.headers["cache-control"] == "no-store"
    raw = await world.get("password", token, {"field": ""})
    assert (raw.text, raw.headers["content-type"]) == (CANARY, "application/octet-stream")
    has = {"if-none-match": answer.headers["etag"]}
    assert (await world.get("password", token, **has)).status_code == 304
    waiting = asyncio.create_task(world.get("password", token, {"wait": "50"}, **has))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await world.operator.put(secret, b"newer")
    changed = await waiting
    assert (changed.status_code, changed.json()["value"]) == (200, "newer")
    held = await world.get("password", token, {"wait": "1", "version": changed.json()["version"]})
    assert held.status_code == 304
    async with asyncio.timeout(30):
        while len(events := await world.node.events("secret.deliver")) < 2:
            await asyncio.sleep(0.05)
    assert {event["actor"]["id"] for event in events} == {WEB}
    assert CANARY not in str(events)


async def test_what_is_not_granted_looks_like_what_is_not_there(world: World) -> None:
    await world.node.entry("/web")
    await world.node.entry("/other")
    secret = await world.operator.define("password", OTHER)
    await world.operator.put(secret, CANARY.encode())
    await until_answers(world, 200, "password", await world.token(OTHER))
    token = await world.token()
    refused, absent = await world.get("password", token), await world.get("nothing", token)
    assert (refused.status_code, absent.status_code) == (404, 404)
    assert refused.json() == absent.json()
    stranger = await world.get("password", await world.token("spiffe://example.org/no-entry"))
    assert stranger.status_code == 404
    async with asyncio.timeout(30):
        while not await world.node.events("secret.refused"):
            await asyncio.sleep(0.05)


async def test_a_grant_that_goes_ends_a_wait(world: World) -> None:
    await world.node.entry("/web")
    secret = await world.operator.define("password")
    grant = await world.operator.grant(secret, WEB)
    await world.operator.put(secret, CANARY.encode())
    token = await world.token()
    answer = await until_answers(world, 200, "password", token)
    has = {"if-none-match": answer.headers["etag"]}
    waiting = asyncio.create_task(world.get("password", token, {"wait": "60"}, **has))
    await asyncio.sleep(0.3)
    await world.operator.revoke(grant)
    assert (await waiting).status_code == 404


async def test_tokens_that_prove_nothing(world: World) -> None:
    await world.node.entry("/web")
    secret = await world.operator.define("password", WEB)
    await world.operator.put(secret, CANARY.encode())
    good = await world.token()
    await until_answers(world, 200, "password", good)
    head, body, signature = good.split(".")
    elsewhere = await world.token(audience="somebody-else")
    for bad in (elsewhere, f"{head}.{body}.", f"{head}.{body}.{signature[::-1]}", "x", "." * 9000):
        answer = await world.get("password", bad)
        assert (answer.status_code, CANARY in answer.text) == (401, False)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for headers in ({}, {"authorization": f"Basic {good}"}, {"authorization": "Bearer"}):
        assert (await world.get("password", None, None, **headers)).status_code == 401
    in_the_url = await world.get("password", None, {"access_token": good})
    assert in_the_url.status_code == 401


@pytest.mark.parametrize("wait", ["-1", "61", "1.5", "x", "999"])
async def test_a_wait_that_makes_no_sense(world: World, wait: str) -> None:
    answer = await world.get("password", await world.token(), {"wait": wait})
    assert (answer.status_code, "0 to 60" in answer.json()["detail"]) == (422, True)


async def test_a_wait_ends_with_the_token(world: World) -> None:
    await world.node.entry("/web")
    secret = await world.operator.define("password", WEB)
    await world.operator.put(secret, CANARY.encode())
    answer = await until_answers(world, 200, "password", await world.token())
    brief = await world.token(ttl_seconds=5)
    loop = asyncio.get_running_loop()
    started = loop.time()
    same = await world.get("password", brief, {"wait": "60"}, **{"if-none-match": answer.headers["etag"]})
    assert (same.status_code, loop.time() - started < 50) == (304, True)


async def test_one_identity_cannot_take_all_places(world: World) -> None:
    await world.node.entry("/web")
    await world.node.entry("/other")
    secret = await world.operator.define("password", WEB, OTHER)
    await world.operator.put(secret, CANARY.encode())
    token = await world.token()
    has = {"if-none-match": (await until_answers(world, 200, "password", token)).headers["etag"]}
    waiting = [asyncio.create_task(world.get("password", token, {"wait": "60"}, **has)) for _ in range(30)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status_code for task in done} == {429}
    assert (await world.get("password", await world.token(OTHER))).status_code == 200
    await world.operator.put(secret, b"newer")
    codes = [(await task).status_code for task in waiting]
    assert (codes.count(200), codes.count(429)) == (20, 10)


async def test_the_servers_own_svid_is_its_certificate_by_default(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with running(endpoints__secrets__listen=f"127.0.0.1:{port}") as node:
        pem = node.server._parts.registry.bundle.pem().decode()
        context = ssl.create_default_context(cadata=pem)
        context.check_hostname = False  # its name is a SPIFFE ID
        world = World(node, Operator(node), f"https://127.0.0.1:{port}", context)
        await node.entry("/web")
        secret = await world.operator.define("password", WEB)
        await world.operator.put(secret, CANARY.encode())
        answer = await until_answers(world, 200, "password", await world.token())
        assert answer.json()["value"] == CANARY


def test_files_without_a_reason() -> None:
    flags = {"trust_domain": "example.org", "endpoints.secrets.listen": "127.0.0.1:1"}
    with pytest.raises(ConfigError, match="is needed for the profile https_web"):
        load_server_config(None, {}, {**flags, "endpoints.secrets.profile": "https_web"})
    with pytest.raises(ConfigError, match=r"endpoints\.secrets\.profile"):
        load_server_config(None, {}, {**flags, "endpoints.secrets.profile": "http"})
