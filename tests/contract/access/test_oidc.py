"""People log in at a real OpenID provider, and machines show its tokens; what was tampered with gets nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from sds.demo.ports import free_ports
from tests.contract.access.world import SESSION, World, serving
from tests.fakes.vault_server import VaultServer

_numbers = count(1)


@dataclass
class Scene:
    """A server, a provider that knows it as a client, and alice, who is in the group `pki`."""

    world: World
    vault: VaultServer
    provider: str
    issuer: str
    name: str
    user_token: str

    @property
    def client(self) -> str:
        return f"sds{self.name.removeprefix('alice')}"

    async def depart(self, then: str = "/entries") -> tuple[httpx.AsyncClient, dict[str, str]]:
        """A browser that was sent to the provider, and with what."""
        browser = self.world.client()
        answer = await browser.get("/login/oidc", params={"next": then})
        assert answer.status_code == 303, answer.text
        location = urlsplit(answer.headers["location"])
        return browser, {name: values[0] for name, values in parse_qs(location.query).items()}

    async def consent(self, asked: dict[str, str]) -> dict[str, str]:
        """What the provider's own page does when alice agrees."""
        answer = await self.vault.call(f"{self.provider}/authorize?{urlencode(asked)}", token=self.user_token)
        found = answer.json()
        return {"code": found["code"], "state": found["state"]}


async def _data(vault: VaultServer, path: str) -> dict[str, Any]:
    return dict((await vault.read(path))["data"])


async def _user(vault: VaultServer, name: str) -> str:
    """The token of somebody who is in a group of the same name; what they are called is in the ID token."""
    mount = vault.auth_mount("userpass")
    await vault.write(f"auth/{mount}/users/{name}", {"password": "wonderland"})
    accessor = (await _data(vault, "sys/auth"))[f"{mount}/"]["accessor"]
    entity = (await vault.write("identity/entity", {"name": name}))["data"]["id"]
    alias = {"name": name, "canonical_id": entity, "mount_accessor": accessor}
    await vault.write("identity/entity-alias", alias)
    await vault.write("identity/group", {"name": f"group-{name}", "member_entity_ids": [entity]})
    login = await vault.call(f"auth/{mount}/login/{name}", {"password": "wonderland"}, token="")
    return str(login.json()["auth"]["client_token"])


@pytest.fixture
async def scene(tmp_path: Path, vault_shared: VaultServer) -> AsyncIterator[Scene]:
    vault, number = vault_shared, next(_numbers)
    (port,) = free_ports(1)
    redirect = f"https://localhost:{port}/login/callback"
    name = f"alice{number}"
    user_token = await _user(vault, name)
    scope = '{"groups": {{identity.entity.groups.names}}, "email": {{identity.entity.name}}}'
    await vault.write(f"identity/oidc/scope/who{number}", {"template": scope})
    client = {"redirect_uris": [redirect], "assignments": ["allow_all"], "id_token_ttl": "30m"}
    await vault.write(f"identity/oidc/client/sds{number}", client)
    provider = f"identity/oidc/provider/p{number}"
    await vault.write(provider, {"allowed_client_ids": ["*"], "scopes_supported": [f"who{number}"]})
    made = await _data(vault, f"identity/oidc/client/sds{number}")
    secret = tmp_path / "client-secret"
    secret.write_text(made["client_secret"])
    secret.chmod(0o600)
    issuer = (await vault.call(f"{provider}/.well-known/openid-configuration", token="")).json()["issuer"]
    async with serving(
        tmp_path,
        port,
        admin__oidc__issuer=issuer,
        admin__oidc__client_id=made["client_id"],
        admin__oidc__client_secret_file=str(secret),
        admin__oidc__redirect_url=redirect,
        admin__oidc__scopes=f"openid,who{number}",
        admin__oidc__audience=made["client_id"],
    ) as world:
        yield Scene(world, vault, provider, issuer, name, user_token)


async def test_somebody_of_a_group_logs_in(scene: Scene) -> None:
    await scene.world.bind(f"group:group-{scene.name}", "auditor")
    browser, asked = await scene.depart("/audit?action=entry.create")
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{scene.world.url}/login/callback"
    answer = await browser.get("/login/callback", params=await scene.consent(asked))
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit?action=entry.create")
    who = (await browser.get("/v1/whoami")).json()
    assert (who["kind"], who["name"]) == ("oidc", scene.name)
    assert who["id"].startswith(f"oidc:{scene.issuer}#")
    assert who["rights"] == [{"role": "auditor", "below": None, "labels": {}}]
    assert (await browser.get("/v1/audit")).status_code == 200
    (event,) = await scene.world.node.events("admin.login")
    assert (event["outcome"], event["actor"]["id"]) == ("success", who["id"])
    listed = (await scene.world.node.admin.get("/v1/access/bindings")).json()["bindings"]
    await scene.world.node.api("DELETE", f"/v1/access/bindings/{listed[0]['id']}")
    assert (await browser.get("/v1/audit")).status_code == 403  # at once, with the session still there


async def test_who_has_no_role_gets_no_session(scene: Scene) -> None:
    browser, asked = await scene.depart()
    answer = await browser.get("/login/callback", params=await scene.consent(asked))
    assert answer.headers["location"] == "/login?failed=1&why=role&next=%2F"
    assert SESSION not in answer.cookies
    (event,) = await scene.world.node.events("admin.login")
    assert (event["outcome"], event["reason"]) == ("refused", "has no role")


async def test_an_answer_that_is_not_of_this_login(scene: Scene) -> None:
    """Login CSRF, and a code that was stolen or put in: each fails, and says nothing of why."""
    await scene.world.bind(f"group:group-{scene.name}", "auditor")
    victim, victims = await scene.depart()
    _, attackers = await scene.depart()
    stolen = await scene.consent(attackers)
    given = await scene.consent(victims)
    for answer in (
        stolen,  # the attacker's answer in the victim's browser
        {**stolen, "state": given["state"]},  # with the right state: PKCE and the nonce are another login's
        {**given, "iss": "https://evil.example"},  # mix-up (RFC 9207)
        {"error": "access_denied", "state": given["state"]},
        {"code": "made-up", "state": given["state"]},
    ):
        browser = scene.world.client()
        browser.cookies = httpx.Cookies(victim.cookies)
        refused = await browser.get("/login/callback", params=answer)
        assert refused.headers["location"] == "/login?failed=1&why=provider&next=%2F", answer
        assert SESSION not in refused.cookies
    nobody = await scene.world.client().get("/login/callback", params=given)  # a browser that began no login
    assert nobody.headers["location"] == "/login?failed=1&why=provider&next=%2F"
    done = await victim.get("/login/callback", params=given)
    assert SESSION in done.cookies
    outcomes = [each["outcome"] for each in await scene.world.node.events("admin.login")]
    assert outcomes == ["refused"] * 6 + ["success"]


async def test_a_machines_token(scene: Scene) -> None:
    """For the audience alone that was configured, and with the roles of its groups."""
    _, asked = await scene.depart()
    token = await _exchange(scene, asked)
    client = scene.world.client(token)
    assert (await client.get("/v1/whoami")).status_code == 403
    await scene.world.bind(f"group:group-{scene.name}", "viewer")
    assert (await client.get("/v1/whoami")).json()["kind"] == "oidc"
    header, claims, signature = token.split(".")
    for forged in (f"{header}.{claims}.{signature[:-8]}AAAAAAAA", f"{header}.{claims}.", "e30.e30."):
        assert (await scene.world.client(forged).get("/v1/whoami")).status_code == 401


async def _exchange(scene: Scene, asked: dict[str, str]) -> str:
    """As the client itself; without PKCE's verifier the provider gives nothing, so it is begun anew without."""
    plain = {name: value for name, value in asked.items() if not name.startswith("code_challenge")}
    code = (await scene.consent({**plain, "state": "x" * 32}))["code"]
    made = await _data(scene.vault, f"identity/oidc/client/{scene.client}")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": asked["redirect_uri"]}
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"{scene.vault.url}/v1/{scene.provider}/token"
        answer = await http.post(url, data=form, auth=(made["client_id"], made["client_secret"]))
    return str(answer.json()["id_token"])
