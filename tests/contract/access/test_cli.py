"""The commands of sds access against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from sds.cli.main import program
from tests.contract.access.world import AGENT, World, serving


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What the server has logged: it is in this process, and its log would be in what a command is seen to print."""
    with capture_logs() as captured:
        yield captured


async def run(world: World, *argv: str, code: int = 0) -> Result:
    socket = str(world.node.folder / "s" / "admin.sock")
    given = ["access", *argv, "--admin-socket", socket]
    result = await asyncio.to_thread(CliRunner().invoke, program(given[0]), given, prog_name="sds")
    assert result.exit_code == code, result.output
    return result


async def as_json(world: World, *argv: str, code: int = 0) -> Any:
    return json.loads((await run(world, *argv, "--output", "json", code=code)).stdout)


async def test_tokens_bindings_and_who_one_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        assert "admin" in (await run(world, "whoami")).stdout
        file = tmp_path / "token"
        made = await run(world, "token", "create", "ci", "--role", "viewer", "--ttl", "1d", "--token-file", str(file))
        token = file.read_text().strip()
        assert token.startswith("sds_at_")
        assert token not in made.output
        assert file.stat().st_mode & 0o777 == 0o600
        assert (await world.client(token).get("/v1/entries")).status_code == 200
        assert "ci" in (await run(world, "token", "list")).stdout
        (listed,) = (await as_json(world, "token", "list"))["tokens"]
        assert listed["role"] == "viewer"
        asked = await run(world, "token", "revoke", listed["id"], "--dry-run")
        assert f"Would revoke the API token {listed['id']} (ci), viewer" in asked.stdout
        assert (await as_json(world, "token", "revoke", listed["id"], "--dry-run"))["revoked_at"] is None
        assert (await world.client(token).get("/v1/entries")).status_code == 200
        await run(world, "token", "revoke", listed["id"], "--yes")
        assert (await world.client(token).get("/v1/entries")).status_code == 401
        assert not (await as_json(world, "token", "list"))["tokens"]
        first = (await as_json(world, "bootstrap"))["token"]
        assert (await world.client(first).get("/v1/access/tokens")).status_code == 200
        below = "spiffe://example.org/payments"
        bound = await as_json(world, "binding", "create", "group:payments", "--role", "operator", "--below", below)
        assert (bound["role"], bound["below"]) == ("operator", below)
        assert "group:payments" in (await run(world, "binding", "list")).stdout
        assert "Would delete the binding" in (await run(world, "binding", "delete", bound["id"], "--dry-run")).stdout
        assert (await as_json(world, "binding", "delete", bound["id"], "--dry-run"))["dry_run"] is True
        await run(world, "binding", "delete", bound["id"], "--yes")
        await run(world, "binding", "delete", bound["id"], "--dry-run", code=3)
        await run(world, "binding", "create", "nobody", "--role", "operator", code=1)


async def test_approvals(tmp_path: Path) -> None:
    async with serving(tmp_path, admin__four_eyes="revocation.mass") as world:
        await world.node.attest()
        asker = world.client(await world.token("operator"))
        for _ in range(2):
            body = {"kind": "agent", "value": AGENT, "dry_run": False}
            assert (await asker.post("/v1/revocations", json=body)).status_code == 202
            (waiting,) = (await as_json(world, "approval", "list"))["approvals"]
            assert "revocation.create" in (await run(world, "approval", "list")).stdout
            await run(
                world, "approval", "approve", waiting["id"], "--yes", code=1
            )  # it was they who gave out the token
            done = await as_json(world, "approval", "reject", waiting["id"], "--reason", "no")
            assert (done["state"], done["reason"]) == ("rejected", "no")
        assert len((await as_json(world, "approval", "list", "--all"))["approvals"]) == 2
