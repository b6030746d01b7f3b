"""Values are in no answer of the admin API, no metric, no log, no audit event and no file, whatever is asked or refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sds.http.no_tls import NO_TLS
from tests.e2e.harness.files import contents
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.fakes import pki
from tests.fakes.vault_server import VaultServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
NOW = datetime.now(UTC)
HOLDER = pki.make("gw.example.org", ca=False, before=NOW - timedelta(hours=1), after=NOW + timedelta(days=1))
KEY_LINE = HOLDER.key_pem.splitlines()[1]
VALUES: dict[str, tuple[str, dict[str, bytes]]] = {
    "plain": ("generic", {"": b"CANARY-generic"}),
    "db": ("map", {"username": b"CANARY-user", "password": b"CANARY-pass"}),
    "gw": ("certificate", {"chain": HOLDER.pem, "private_key": HOLDER.key_pem}),
}
CANARIES = [b"CANARY", base64.b64encode(b"CANARY-")[:8], b"CANARY".hex().encode(), KEY_LINE]
REFUSED: list[bytes] = [
    b'{"fields": {"": "CANARY"}}',
    b'{"fields": {"CANARY": "", "CANARY": ""}}',
    b'{"fields": {"CANARY',
    b'{"CANARY": "Q0FOQVJZ"}',
    b'"CANARY"',
    b'{"fields": {"a": "Q0FOQVJZLQ==", "b": "Q0FOQVJZLQ=="}}',
    b'{"fields": {"": "AENBTkFSWS0="}}',
    b'{"fields": {"": "' + base64.b64encode(b"CANARY-" * 20_000) + b'"}}',
    b'{"fields": {"": "' + base64.b64encode(b"CANARY-" * 200_000) + b'"}}',
]


class Answers:
    """Calls of the admin API, and every byte that came back."""

    def __init__(self, world: World) -> None:
        self._socket = str(world.stack.admin_socket)
        self.heard: list[tuple[str, bytes]] = []

    async def call(self, method: str, path: str, content: bytes | None = None, **params: str) -> httpx.Response:
        headers = {} if content is None else {"Content-Type": "application/json"}
        transport = httpx.AsyncHTTPTransport(uds=self._socket, verify=NO_TLS)
        async with httpx.AsyncClient(transport=transport, base_url="http://sds", timeout=60) as client:
            answer = await client.request(method, path, content=content, headers=headers, params=params)
        self.heard.append((f"{method} {path}", repr(answer.headers).encode() + answer.content))
        return answer

    async def json(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.call(method, path, None if body is None else json.dumps(body).encode())
        assert answer.status_code == status, answer.text
        return answer.json()


def readable(document: dict[str, Any]) -> Iterator[str]:
    """Every path of the API that is read, with our names in it."""
    for path, methods in document["paths"].items():
        if "get" not in methods or path == "/v1/audit":
            continue
        for name in VALUES if "{name}" in path else ("x",):
            yield path.replace("{name}", name).replace("{", "").replace("}", "")


async def test_no_value_comes_out_by_any_way(empty_world: World) -> None:
    world = empty_world
    await world.stack.start_server()
    answers = Answers(world)
    for name, (kind, fields) in VALUES.items():
        await answers.json("POST", "/v1/secrets", {"name": name, "kind": kind}, 201)
        body = {"fields": {field: base64.b64encode(raw).decode() for field, raw in fields.items()}}
        for version in ("1", "2"):
            assert (await answers.json("PUT", f"/v1/secrets/{name}:value", body))["version"] == version
        await answers.json("POST", "/v1/grants", {"secret": name, "spiffe_id": world.id("web")}, 201)
        state = (await answers.json("POST", f"/v1/secrets/{name}:refresh"))["state"]
        assert (state["version"], state["problem"]) == ("2", ""), "it was fetched and is fit to be sent"
        await answers.json("POST", f"/v1/secrets/{name}:rollback", {"version": 1})
    for content in REFUSED:
        answer = await answers.call("PUT", "/v1/secrets/plain:value", content)
        assert answer.status_code in {400, 413, 422}, answer.text
    assert (await answers.json("GET", "/v1/secrets/plain:versions"))["versions"][0]["version"] == "2"
    document = await answers.json("GET", "/v1/openapi.json")
    for path in (*readable(document), "/metrics", "/ready", "/v1/audit?limit=1000"):
        answer = await answers.call("GET", path)
        assert answer.status_code < 500, (path, answer.text)
    planned = await answers.call("DELETE", "/v1/secrets/plain", dry_run="true")
    assert planned.json()["versions"] == 2
    assert world.stack.server is not None
    await world.stack.server.stop()
    answered = [place for place, content in answers.heard if any(canary in content for canary in CANARIES)]
    assert answered == []
    assert len(answers.heard) > 50
    files = list(contents(world.folder))
    assert any("sqlite" in file.name or file.suffix == ".db" for file, _ in files)
    assert [str(file) for file, content in files if any(canary in content for canary in CANARIES)] == []


async def test_what_operators_see_of_a_source_in_vault(empty_world: World, vault_shared: VaultServer) -> None:
    """Missing, denied and malformed told apart; versions are Vault's own; no value on the way."""
    world, mount = empty_world, vault_shared.mount("kv", {"version": "2"})
    token = world.folder / "vault-token"
    token.touch(mode=0o600)
    rules = f'path "{mount}/+/open/*" {{ capabilities = ["read", "list"] }}'
    token.write_text(vault_shared.token(vault_shared.policy(rules)))
    world.stack.server_env = {
        "SDS_SERVER_VAULT__ADDRESS": vault_shared.url,
        "SDS_SERVER_VAULT__AUTH__METHOD": "token_file",
        "SDS_SERVER_VAULT__AUTH__TOKEN_FILE": str(token),
    }
    await world.stack.start_server()
    answers = Answers(world)

    async def define(name: str, path: str) -> None:
        source = {"backend": "kv", "mount": mount, "path": path, "fields": {"": "key"}}
        await answers.json("POST", "/v1/secrets", {"name": name, "kind": "generic", "source": source}, 201)

    async def code(name: str) -> str:
        state = (await answers.json("POST", f"/v1/secrets/{name}:refresh"))["state"]
        assert bool(state["problem"]) == bool(state["problem_code"])
        return str(state["problem_code"])

    await define("token", "open/token")
    await define("closed", "closed/token")
    assert (await code("token"), await code("closed")) == ("missing", "denied")
    await vault_shared.write(f"{mount}/data/open/token", {"data": {"other": "CANARY-1"}})
    assert await code("token") == "malformed"
    for number in (2, 3):
        await vault_shared.write(f"{mount}/data/open/token", {"data": {"key": f"CANARY-{number}"}})
    assert await code("token") == ""
    found = (await answers.json("GET", "/v1/secrets/token:versions"))["versions"]
    assert [each["version"] for each in found] == ["3", "2", "1"]
    pinned = await answers.json("POST", "/v1/secrets/token:rollback", {"version": 2})
    assert (pinned["pinned"], pinned["state"]["version"]) == (2, "2")
    await vault_shared.write(f"{mount}/destroy/open/token", {"versions": [1]})
    refused = await answers.json("POST", "/v1/secrets/token:rollback", {"version": 1}, 422)
    assert "destroyed" in refused["problems"][0]["problem"]
    body = {"fields": {"": base64.b64encode(b"CANARY").decode()}}
    elsewhere = await answers.json("PUT", "/v1/secrets/token:value", body, 422)
    assert f"the KV engine {mount} at open/token" in elsewhere["problems"][0]["problem"]

    async def told() -> bool:
        """What is wrong is written down beside the request."""
        events = (await answers.json("GET", "/v1/audit?limit=1000"))["events"]
        codes = {each["details"].get("code") for each in events if each["action"] == "secret.problem"}
        return codes >= {"missing", "denied", "malformed"}

    await eventually(told, 60)
    assert [place for place, content in answers.heard if b"CANARY" in content] == []
    assert [str(file) for file, content in contents(world.folder) if b"CANARY" in content] == []
