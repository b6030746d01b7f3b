"""A real Vault believes our JWT-SVIDs by OpenID Connect discovery alone, through a rotation of their key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from sds.demo.ports import free_ports
from tests.contract.public.pki import LOOPBACK, WebPki
from tests.e2e.harness.world import World, world
from tests.fakes.vault_server import VaultServer

pytestmark = pytest.mark.e2e
AUDIENCE = "vault"
ROLE = "web"


@dataclass(slots=True)
class Scene:
    """A server that serves discovery, and a Vault that has been told of it."""

    world: World
    vault: VaultServer
    mount: str
    issuer: str

    async def mint(self, path: str = "web", audience: str = AUDIENCE, *more: str) -> str:
        flags = ("--spiffe-id", self.world.id(path), "--audience", audience)
        return str((await self.world.cli("jwt", "mint", *flags, *more)).json["token"])

    async def login(self, token: str) -> httpx.Response:
        return await self.vault.call(f"auth/{self.mount}/login", {"role": ROLE, "jwt": token}, token="")


@asynccontextmanager
async def scene(vault: VaultServer) -> AsyncIterator[Scene]:
    pki, (port,) = WebPki(), free_ports(1)
    issuer = f"https://localhost:{port}"
    async with world() as made:
        cert_file, key_file = pki.issue().write(made.folder)
        made.stack.server_env = {
            "SDS_SERVER_JWT__ISSUER": issuer,
            "SDS_SERVER_ENDPOINTS__OIDC__LISTEN": f"{LOOPBACK}:{port}",
            "SDS_SERVER_ENDPOINTS__OIDC__CERT_FILE": str(cert_file),
            "SDS_SERVER_ENDPOINTS__OIDC__KEY_FILE": str(key_file),
        }
        await made.stack.start_server()
        mount = vault.auth_mount("jwt")
        config = {"oidc_discovery_url": issuer, "oidc_discovery_ca_pem": pki.root_pem.decode()}
        await vault.write(f"auth/{mount}/config", config)
        role = {
            "role_type": "jwt",
            "bound_audiences": [AUDIENCE],
            "bound_subject": made.id("web"),
            "user_claim": "sub",
        }
        await vault.write(f"auth/{mount}/role/{ROLE}", role)
        yield Scene(made, vault, mount, issuer)


async def test_vault_takes_our_tokens(vault_shared: VaultServer) -> None:
    async with scene(vault_shared) as scene_:
        answer = await scene_.login(await scene_.mint())
        assert answer.status_code == 200, answer.text
        client: dict[str, Any] = answer.json()["auth"]
        own = await scene_.vault.call("auth/token/lookup-self", token=client["client_token"])
        assert own.json()["data"]["display_name"].endswith(scene_.world.id("web"))

        for why, token in (
            ("another audience", await scene_.mint(audience="else")),
            ("another workload", await scene_.mint("other")),
        ):
            assert (await scene_.login(token)).status_code == 400, why
        header, _, signature = (await scene_.mint("other")).split(".")
        stolen = (await scene_.mint()).split(".")[1]
        assert (await scene_.login(f"{header}.{stolen}.{signature}")).status_code == 400


async def test_a_rotated_key_is_taken_and_the_former_ones_tokens_still_are(vault_shared: VaultServer) -> None:
    async with scene(vault_shared) as scene_:
        before = await scene_.mint()
        assert (await scene_.login(before)).status_code == 200
        prepared = (await scene_.world.cli("ca", "prepare", "--kind", "jwt")).json
        await scene_.world.cli("ca", "activate", prepared["id"], "--force", "--yes")
        after = await scene_.mint()
        assert after.split(".")[0] != before.split(".")[0], "another key ID in the header"
        for token in (after, before):
            answer = await scene_.login(token)
            assert answer.status_code == 200, answer.text
