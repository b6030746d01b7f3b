"""The server and a real Vault: it logs in with a JWT-SVID of its own, and says when Vault is out of use."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sds.demo.errors import DemoError
from sds.demo.ports import free_ports
from tests.contract.public.pki import LOOPBACK, WebPki
from tests.contract.vault.test_docs import Operator, operator
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World, world

__all__ = ["operator"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
HEADING = "### A JWT-SVID of its own"


@asynccontextmanager
async def logged_in(operator: Operator) -> AsyncIterator[World]:
    """A server whose configuration is that of docs/vault.md, and a Vault that is set up as it says there."""
    pki, (port,) = WebPki(), free_ports(1)
    issuer = f"https://localhost:{port}"
    async with world() as made:
        cert_file, key_file = pki.issue().write(made.folder)
        (operator.folder / "oidc-ca.pem").write_bytes(pki.root_pem)
        made.stack.server_env = {
            "SDS_SERVER_JWT__ISSUER": issuer,
            "SDS_SERVER_ENDPOINTS__OIDC__LISTEN": f"{LOOPBACK}:{port}",
            "SDS_SERVER_ENDPOINTS__OIDC__CERT_FILE": str(cert_file),
            "SDS_SERVER_ENDPOINTS__OIDC__KEY_FILE": str(key_file),
            **environment(operator.config(HEADING)),
        }
        await made.stack.start_server()
        await eventually(lambda: unusable(made), within=120)  # Vault does not know of us yet
        operator.types(HEADING, **{"https://oidc.example.org": issuer, "spiffe://example.org": made.id("")[:-1]})
        try:
            yield made
        finally:
            operator.server.delete_blocking("sys/auth/jwt")


def environment(toml: str) -> dict[str, str]:
    """The same configuration as variables, since the world has a file of its own."""
    found, section = {}, ""
    for line in toml.splitlines():
        if heading := re.fullmatch(r"\[(.*)\]", line):
            section = heading[1].upper().replace(".", "__")
        elif pair := re.fullmatch(r"(\w+) = \"(.*)\"", line):
            found[f"SDS_SERVER_{section}__{pair[1].upper()}"] = pair[2]
    return found


async def degraded(made: World) -> str:
    """Why Vault is out of use; empty: it is not. The server stays ready."""
    answer = await made.stack.call("GET", "/ready")
    assert answer.status_code == 200
    return str(answer.json()["checks"]["vault"]["reason"])


async def metric(made: World, name: str) -> float:
    text = (await made.stack.call("GET", "/metrics")).text
    return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(f"{name} ")))


async def usable(made: World) -> bool:
    return not await degraded(made)


async def unusable(made: World) -> bool:
    return bool(await degraded(made))


async def test_it_logs_in_as_itself(operator: Operator) -> None:
    async with logged_in(operator) as made:
        await eventually(lambda: usable(made), within=120)
        assert await metric(made, "sds_server_vault_up") == 1
        accessors = operator.server.list_blocking("auth/token/accessors")
        found = [
            operator.server.write_blocking("auth/token/lookup-accessor", {"accessor": one})["data"] for one in accessors
        ]
        ours = [one for one in found if one["path"] == "auth/jwt/login"]
        assert len(ours) == 1, "one login was enough"
        assert ours[0]["display_name"].endswith(made.id("sds/server"))

        events = (await made.cli("audit", "tail", "--action", "token.issue")).json_lines
        assert {event["details"]["spiffe_id"] for event in events} == {made.id("sds/server")}
        assert events[-1]["details"]["audience"] == ["vault"]
        assert events[-1]["details"]["purpose"] == "login to Vault"


async def test_no_administrator_gets_such_a_token(operator: Operator) -> None:
    async with logged_in(operator) as made:
        order = {"spiffe_id": made.id("sds/server"), "audience": ["vault"]}
        with pytest.raises(DemoError, match="belong to servers and agents"):
            await made.stack.call("POST", "/v1/jwt:mint", order)


async def test_a_sealed_vault_degrades_the_server_and_nothing_more(operator: Operator) -> None:
    async with logged_in(operator) as made:
        await eventually(lambda: usable(made), within=120)
        operator.server.seal()
        try:
            await eventually(lambda: unusable(made), within=120)
            assert await metric(made, "sds_server_vault_up") == 0
            await made.stack.start_agent()
            await made.own_entry()
        finally:
            operator.server.unseal()
        await eventually(lambda: usable(made), within=120)
        log = Path(made.stack.server.log).read_text() if made.stack.server else ""
        assert "logged in to Vault" in log
        for secret in (operator.server.root, operator.server.unseal_key, "eyJ"):
            assert secret not in log
