"""Programs without a sidecar and the real binaries: HTTP from the agent, files, HTTPS from the server; one secret, one life."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sds.demo.ports import LOOPBACK, free_ports
from tests.contract.public.pki import WebPki
from tests.e2e.harness.files import contents
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
FIRST, SECOND, OTHERS = "CANARY-first-value", "CANARY-second-value", "CANARY-of-others"
MEANT = {"X-SDS-Request": "true"}
# An executable of its own: to the kernel, and so to the agent, it is another program than the test.
CLIENT = """
import http.client, json, socket, sys
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
connection = Local("sds", timeout=120)
for line in sys.stdin:
    method, path, headers = json.loads(line)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    print(json.dumps([answer.status, headers, answer.read().decode()]), flush=True)
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


class Application:
    """A process that keeps one connection to the agent's API."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[str] = []

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """With the header that shows that a request is meant, unless `meant` is given empty."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = {} if headers.pop("meant", "yes") == "" else MEANT
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._process.stdin.write(json.dumps([method, path, given | named]).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, "the application has ended"
        answer = Answer(*json.loads(line))
        self.heard.append(answer.text)
        return answer


@asynccontextmanager
async def application(world: World) -> AsyncIterator[Application]:
    """Runs `program(world)` as long as the block does."""
    pipe, home = asyncio.subprocess.PIPE, {"PYTHONHOME": sys.base_prefix}
    argv = (program(world), "-I", "-c", CLIENT, world.folder / "api.sock")
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, env=home)
    try:
        yield Application(process)
    finally:
        process.kill()
        await process.wait()


def program(world: World) -> Path:
    path = world.folder / "bin" / "application"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        shutil.copy2(Path(sys.executable).resolve(), path)
    return path


class Server:
    """The server's secrets endpoint, for somebody who was handed a token."""

    def __init__(self, world: World, port: int, pki: WebPki) -> None:
        self._world = world
        self._url = f"https://localhost:{port}/v1/secrets"
        self._tls: ssl.SSLContext = pki.client()
        self.heard: list[str] = []

    async def token(self, path: str, audience: str = "spiffe://example.org/sds/server") -> str:
        body = {"audience": [audience], "spiffe_id": self._world.id(path)}
        return str((await self._world.stack.call("POST", "/v1/jwt:mint", body)).json()["token"])

    async def ask(self, name: str, token: str = "", **params: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=120) as client:
            answer = await client.get(f"{self._url}/{name}", params=params, headers=headers)
        self.heard.append(answer.text)
        return answer


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sds-e2e-") as folder:
        yield Path(folder)


async def put(world: World, name: str, value: str) -> None:
    file = world.folder / "value"
    file.touch(mode=0o600)
    file.write_text(value)
    await world.cli("secret", "put", name, "--file", str(file))
    file.unlink()


async def start(world: World, memory: Path) -> Server:
    """Server, agent, one identity for the application, one secret for it and one for somebody else."""
    pki, (port,) = WebPki(), free_ports(1)
    certificate, key = pki.issue().write(world.folder, "endpoint")
    endpoint = {"LISTEN": f"{LOOPBACK}:{port}", "PROFILE": "https_web", "CERT_FILE": certificate, "KEY_FILE": key}
    world.stack.server_env = {f"SDS_SERVER_ENDPOINTS__SECRETS__{name}": str(value) for name, value in endpoint.items()}
    mine = f"unix:path:{program(world)}"
    sink = {"PATH": str(memory / "db"), "SELECTORS": mine, "SECRETS": "db", "FIELD": ""}
    world.stack.agent_env = {
        "SDS_AGENT_API_SOCKET": str(world.folder / "api.sock"),
        **{f"SDS_AGENT_SINKS__ONE__{name}": value for name, value in sink.items()},
    }
    await world.start()
    await world.entry("app", selectors=[mine])
    await world.entry("other", selectors=["unix:path:/nowhere/at/all"])
    for name, value in (("db", FIRST), ("others", OTHERS)):
        await world.cli("secret", "create", name)
        await put(world, name, value)
    await world.cli("grant", "create", "others", "--to", world.id("other"))
    return Server(world, port, pki)


async def test_one_secret_by_each_of_the_three_ways(empty_world: World, memory: Path) -> None:
    """Granted, read, changed and taken away again; wrong input meanwhile; no value where it does not belong."""
    world, file = empty_world, memory / "db"
    server = await start(world, memory)

    async def holds(value: str) -> bool:
        return file.exists() and file.read_text() == value

    async with application(world) as app:
        assert (await app.ask("/v1/secrets/db")).status == 404
        grant = (await world.cli("grant", "create", "db", "--to", world.id("app"))).json
        got = await app.ask("/v1/secrets/db?wait=60")
        assert (got.status, got.json["value"]) == (200, FIRST)
        await eventually(lambda: holds(FIRST))
        assert file.stat().st_mode & 0o777 == 0o600
        token = await server.token("app")
        assert (await server.ask("db", token)).json()["value"] == FIRST

        await refused_by_the_agent(world, app)
        await refused_by_the_server(server, token)

        waits = asyncio.create_task(server.ask("db", token, wait="60", version=got.json["version"]))
        held = asyncio.create_task(app.ask("/v1/secrets/db?wait=60", if_none_match=got.headers["etag"]))
        await put(world, "db", SECOND)
        changed = await held
        assert (changed.status, changed.json["value"]) == (200, SECOND)
        assert (await waits).json()["value"] == SECOND
        await eventually(lambda: holds(SECOND))

        await world.cli("grant", "delete", grant["id"], "--yes")

        async def gone() -> bool:
            return not file.exists() and (await app.ask("/v1/secrets/db")).status == 404

        await eventually(gone)
        assert (await server.ask("db", token)).status_code == 404
        await in_no_place(world, [*app.heard, *server.heard])


async def refused_by_the_agent(world: World, app: Application) -> None:
    assert (await app.ask("/v1/secrets/db", meant="")).status == 403
    for path, status in {
        "/v1/secrets/others": 404,
        "/v1/secrets/nothing": 404,
        "/v1/secrets/spiffe%3A%2F%2Fexample.org%2Fapp": 404,
        "/v1/secrets/db?field=nope": 404,
        "/v1/secrets/db?wait=-1": 422,
        "/v1/secrets/db?wait=601": 422,
        "/v1/secrets/": 404,
        "/v1/status": 404,
        "/metrics": 404,
    }.items():
        answer = await app.ask(path)
        assert (answer.status, "CANARY" in answer.text) == (status, False), path
    assert (await app.ask("/v1/secrets/db", method="DELETE")).status == 405
    # The test itself is a program that no entry names.
    transport = httpx.AsyncHTTPTransport(uds=str(world.folder / "api.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://sds", headers=MEANT, timeout=120) as stranger:
        answer = await stranger.get("/v1/secrets/db")
        assert (answer.status_code, "CANARY" in answer.text) == (404, False)
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/secrets/db\r\n\r\n",
        b"A" * 100_000,
        b"GET / HTTP/1.1\r\nno",
    ):
        heard = await asyncio.to_thread(shouted, world.folder / "api.sock", nonsense)
        assert b"CANARY" not in heard
    assert (await app.ask("/v1/secrets/db")).status == 200, "the agent goes on"


def shouted(path: Path, data: bytes) -> bytes:
    """What comes back when `data` is all that is said."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(60)
        raw.connect(str(path))
        heard = b""
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(65_536):
                heard += part
        except (BrokenPipeError, ConnectionResetError):
            pass
        return heard


async def refused_by_the_server(server: Server, good: str) -> None:
    head, body, signature = good.split(".")
    elsewhere = await server.token("app", audience="somebody-else")
    for bad in ("", elsewhere, f"{head}.{body}.", f"{head}.{body}.{signature[::-1]}", "x"):
        answer = await server.ask("db", bad)
        assert (answer.status_code, "CANARY" in answer.text) == (401, False)
    assert (await server.ask("others", good)).status_code == 404
    assert (await server.ask("db", good, wait="x")).status_code == 422


async def in_no_place(world: World, heard: list[str]) -> None:
    """Values were heard by who was granted them, and are in no log, metric, audit event, or file in clear."""
    assert sum(OTHERS in text for text in heard) == 0
    assert sum(FIRST in text for text in heard) >= 3
    assert sum(SECOND in text for text in heard) >= 2

    async def delivered() -> bool:
        found = (await world.stack.call("GET", "/v1/audit?action=secret.deliver&limit=1000")).json()["events"]
        return {event["actor"]["id"] for event in found} >= {world.id("app"), world.stack.agent_id}

    await eventually(delivered)
    said = [
        (await world.stack.call("GET", "/v1/audit?limit=1000")).content,
        (await world.stack.call("GET", "/metrics")).content,
        (await world.agent_call("/metrics")).content,
        (await world.agent_call("/v1/status")).content,
        *(content for _, content in contents(world.folder, lambda file: file.suffix != ".sock")),
    ]
    assert len(said) > 8, "the logs and the database are among them"
    for content in said:
        for value in (FIRST, SECOND, OTHERS):
            assert value.encode() not in content
