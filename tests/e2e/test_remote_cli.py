"""The commands over HTTPS, against a real server: as whom, and what somebody is told who is not let in."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from sds.demo.ports import LOOPBACK, free_ports
from tests.contract.public.pki import WebPki
from tests.e2e.harness.cli import Ran, sds
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world

pytestmark = pytest.mark.e2e


@dataclass(slots=True)
class Remote:
    """A server with an HTTPS listener, and what somebody has to know who calls it from elsewhere."""

    world: World
    port: int
    env: dict[str, str] = field(default_factory=dict)

    async def run(self, *args: str, **env: str) -> Ran:
        """Somewhere that no admin socket is."""
        return await sds(*args, env={**self.env, **env})

    async def token(self, name: str, role: str, *more: str) -> Path:
        """As an administrator on the server's host makes one."""
        file = self.world.folder / f"{name}.token"
        await self.world.cli("access", "token", "create", name, "--role", role, "--token-file", str(file), *more)
        assert file.stat().st_mode & 0o777 == 0o600
        return file


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Remote]:
    pki, (port,) = WebPki(), free_ports(1)
    cert_file, key_file = pki.issue().write(tmp_path)
    (tmp_path / "root.pem").write_bytes(pki.root_pem)
    listener = {
        "SDS_SERVER_ADMIN__LISTEN": f"{LOOPBACK}:{port}",
        "SDS_SERVER_ADMIN__CERT_FILE": str(cert_file),
        "SDS_SERVER_ADMIN__KEY_FILE": str(key_file),
        "SDS_SERVER_ADMIN__HOSTS": f"localhost,{LOOPBACK}",
    }
    async with new_world(server_env=listener) as world:
        await world.stack.start_server()
        made = Remote(world, port)
        made.env = {
            "SDS_ADMIN_URL": f"https://localhost:{port}",
            "SDS_ADMIN_CA_FILE": str(tmp_path / "root.pem"),
            "SDS_ADMIN_TOKEN_FILE": str(await made.token("ci", "operator")),
        }
        yield made


async def test_the_command_line_over_https(remote: Remote, tmp_path: Path) -> None:
    """One server for all of it: starting one takes longer than the rest."""
    spiffe_id, parent = remote.world.id("web"), remote.world.id("sds/agent/elsewhere")
    await _is_let_in(remote, spiffe_id, parent)
    await _does_not_trust_the_server(remote, tmp_path)
    await _is_not_trusted(remote, tmp_path)
    await _speaks_no_tls(remote)
    listed = (await remote.world.cli("entry", "list")).json["entries"]
    assert [each["spiffe_id"] for each in listed] == [spiffe_id], "nobody who was refused has done anything"


async def _is_let_in(remote: Remote, spiffe_id: str, parent: str) -> None:
    made = await remote.run(
        *("entry", "create", "--spiffe-id", spiffe_id, "--parent-id", parent),
        *("--selector", f"unix:uid:{os.geteuid()}", "--output", "json"),
    )
    assert made.ok().json["spiffe_id"] == spiffe_id
    shown = (await remote.run("entry", "list", "--verbose")).ok()
    assert spiffe_id in shown.out
    assert "GET /v1/entries?limit=500: 200 in " in shown.err
    who = (await remote.run("access", "whoami", "--output", "json")).ok().json
    assert (who["kind"], who["name"], who["rights"][0]["role"]) == ("token", "ci", "operator")
    by_flags = await sds(
        *("entry", "list", "--output", "json", "--admin-url", f"https://{LOOPBACK}:{remote.port}"),
        *("--admin-ca-file", remote.env["SDS_ADMIN_CA_FILE"]),
        *("--admin-token-file", remote.env["SDS_ADMIN_TOKEN_FILE"]),
    )
    assert [each["spiffe_id"] for each in by_flags.ok().json["entries"]] == [spiffe_id]
    token = Path(remote.env["SDS_ADMIN_TOKEN_FILE"]).read_text().strip()
    assert token not in shown.out + shown.err + made.out + made.err


async def _does_not_trust_the_server(remote: Remote, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(WebPki().root_pem)
    for more in (
        {"SDS_ADMIN_CA_FILE": str(other)},
        {"SDS_ADMIN_SERVER_NAME": "other.example"},
    ):
        refused = await remote.run("entry", "delete", "any", "--yes", **more)
        assert (refused.status, refused.out) == (5, "")
        assert "is not to be trusted" in refused.err
    absent = await remote.run("entry", "list", SDS_ADMIN_CA_FILE=str(tmp_path / "none"))
    assert absent.status == 2
    assert "cannot be read" in " ".join(absent.err.split())


async def _is_not_trusted(remote: Remote, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.token"
    wrong.write_text("sds_at_" + "A" * 60)
    old = await remote.token("old", "viewer")
    _expire(remote.world.folder / "server" / "sds.sqlite3", "old")
    for file in (wrong, old):
        refused = await remote.run("entry", "list", SDS_ADMIN_TOKEN_FILE=str(file))
        assert (refused.status, refused.out) == (1, "")
        assert "--admin-token-file" in refused.err, "who is not known is told what to give"
        assert file.read_text().strip() not in refused.err
    told = await remote.run("entry", "list", "--output", "json", SDS_ADMIN_TOKEN_FILE=str(old))
    assert (json.loads(told.err)["status"], json.loads(told.err)["exit_code"]) == (401, 1)
    nobody = await remote.run("entry", "list", SDS_ADMIN_TOKEN_FILE="")
    assert nobody.status == 1
    reader = await remote.token("reader", "viewer")
    forbidden = await remote.run("kek", "rotate", SDS_ADMIN_TOKEN_FILE=str(reader))
    assert (forbidden.status, forbidden.out) == (1, "")
    assert "admin" in forbidden.err, "which role it takes"


def _expire(database: Path, name: str) -> None:
    """As time does: the shortest token is good for a minute."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        changed = connection.execute("UPDATE api_tokens SET expires_at = created_at + 1 WHERE name = ?", (name,))
        assert changed.rowcount == 1


async def _speaks_no_tls(remote: Remote) -> None:
    plain = await remote.run("entry", "list", SDS_ADMIN_URL=f"http://localhost:{remote.port}")
    assert plain.status == 2
    assert "must begin with https://" in " ".join(plain.err.replace("│", " ").split())
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://localhost:{remote.port}/v1/entries")
