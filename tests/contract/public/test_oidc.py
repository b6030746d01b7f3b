"""OpenID Connect discovery, served by a real server and used by a real consumer that knows nothing of SPIFFE."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from sds.config import ConfigError, load_server_config
from sds.demo.ports import free_ports
from tests.contract.node.harness import Node, running
from tests.contract.public.pki import WebPki

AUDIENCE = "vault"
WEB = "spiffe://example.org/web"


@dataclass
class Provider:
    """A server whose issuer is an https URL on this host."""

    node: Node
    issuer: str
    tls: ssl.SSLContext

    async def get(self, url: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(verify=self.tls, trust_env=False) as client:
            return await client.get(url, headers=headers)

    async def configuration(self) -> dict[str, Any]:
        answer = await self.get(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        assert answer.status_code == 200
        return dict(answer.json())

    async def mint(self, **more: Any) -> str:
        body = {"audience": [AUDIENCE], "spiffe_id": WEB, **more}
        return str((await self.node.api("POST", "/v1/jwt:mint", body))["token"])

    async def verify(self, token: str, audience: str = AUDIENCE) -> dict[str, Any]:
        """As a relying party would: discovery, keys by the token's `kid`, signature, claims."""
        found = await self.configuration()

        def decode() -> dict[str, Any]:
            keys = jwt.PyJWKClient(found["jwks_uri"], ssl_context=self.tls, cache_keys=False)
            key = keys.get_signing_key_from_jwt(token)
            algorithms = found["id_token_signing_alg_values_supported"]
            return dict(jwt.decode(token, key, algorithms=algorithms, audience=audience, issuer=found["issuer"]))

        return await asyncio.to_thread(decode)


@asynccontextmanager
async def provider(folder: Path, path: str = "", **settings: object) -> AsyncIterator[Provider]:
    pki = WebPki()
    cert_file, key_file = map(str, pki.issue().write(folder))
    (port,) = free_ports(1)
    issuer = f"https://localhost:{port}{path}"
    async with running(
        endpoints__oidc__listen=f"127.0.0.1:{port}",
        endpoints__oidc__cert_file=cert_file,
        endpoints__oidc__key_file=key_file,
        jwt__issuer=issuer,
        **settings,
    ) as node:
        yield Provider(node, issuer, pki.client())


@pytest.fixture
async def oidc(tmp_path: Path) -> AsyncIterator[Provider]:
    async with provider(tmp_path) as made:
        yield made


async def test_the_document_has_what_discovery_demands(oidc: Provider) -> None:
    """OpenID Connect Discovery 1.0 section 3: all REQUIRED members of a provider with the implicit flow."""
    found = await oidc.configuration()
    assert found["issuer"] == oidc.issuer
    for name in ("authorization_endpoint", "jwks_uri"):
        assert found[name].startswith(f"{oidc.issuer}/")
    assert found["response_types_supported"] == ["id_token"]
    assert found["subject_types_supported"] == ["public"]
    assert "RS256" in found["id_token_signing_alg_values_supported"]
    assert "none" not in found["id_token_signing_alg_values_supported"]
    assert (await oidc.get(found["jwks_uri"])).status_code == 200


async def test_nobody_logs_in_here(oidc: Provider) -> None:
    answer = await oidc.get((await oidc.configuration())["authorization_endpoint"])
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_response_type")


@pytest.mark.parametrize("path", ["/tenants/a", "/"])
async def test_the_issuer_may_have_a_path(tmp_path: Path, path: str) -> None:
    """Section 4.1: a terminating slash is removed before the well-known path is appended."""
    async with provider(tmp_path, path) as oidc:
        assert (await oidc.configuration())["issuer"] == oidc.issuer
        assert (await oidc.verify(await oidc.mint()))["sub"] == WEB


async def test_keys_are_signing_keys_and_nothing_private(oidc: Provider) -> None:
    found = (await oidc.get((await oidc.configuration())["jwks_uri"])).json()
    assert found["keys"]
    for key in found["keys"]:
        assert (key["use"], key["alg"]) == ("sig", "ES256")
        assert key["kid"]
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()


async def test_caching(oidc: Provider) -> None:
    found = await oidc.configuration()
    for url in (oidc.issuer + "/.well-known/openid-configuration", found["jwks_uri"]):
        first = await oidc.get(url)
        assert first.headers["cache-control"] == "public, max-age=300"
        assert first.headers["content-type"] == "application/json"
        assert (await oidc.get(url, **{"if-none-match": first.headers["etag"]})).status_code == 304


async def test_max_age_is_configured(tmp_path: Path) -> None:
    async with provider(tmp_path, endpoints__oidc__max_age="17s") as oidc:
        answer = await oidc.get((await oidc.configuration())["jwks_uri"])
        assert answer.headers["cache-control"] == "public, max-age=17"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "PS256"])
async def test_a_relying_party_verifies_our_tokens(tmp_path: Path, algorithm: str) -> None:
    async with provider(tmp_path, jwt__algorithm=algorithm) as oidc:
        token = await oidc.mint()
        assert jwt.get_unverified_header(token)["alg"] == algorithm
        claims = await oidc.verify(token)
        assert (claims["iss"], claims["sub"], claims["aud"]) == (oidc.issuer, WEB, [AUDIENCE])
        with pytest.raises(jwt.InvalidAudienceError):
            await oidc.verify(token, "another")


async def test_tokens_outlive_a_rotation_of_their_key(oidc: Provider) -> None:
    """The next key is published before it signs, and the former one for as long as its tokens last."""
    before = await oidc.mint()
    prepared = await oidc.node.api("POST", "/v1/authorities:prepare", {"kind": "jwt"})
    keys = (await oidc.get((await oidc.configuration())["jwks_uri"])).json()["keys"]
    assert prepared["id"] in {key["kid"] for key in keys}
    assert jwt.get_unverified_header(await oidc.mint())["kid"] != prepared["id"]
    await oidc.node.api("POST", f"/v1/authorities/{prepared['id']}:activate", {"force": True})
    after = await oidc.mint()
    assert jwt.get_unverified_header(after)["kid"] == prepared["id"]
    for token in (before, after):
        assert (await oidc.verify(token))["sub"] == WEB


async def test_a_revoked_key_is_gone_at_once(oidc: Provider) -> None:
    token = await oidc.mint()
    former = jwt.get_unverified_header(token)["kid"]
    prepared = await oidc.node.api("POST", "/v1/authorities:prepare", {"kind": "jwt"})
    await oidc.node.api("POST", f"/v1/authorities/{prepared['id']}:activate", {"force": True})
    await oidc.node.api("POST", f"/v1/authorities/{former}:taint")
    await oidc.node.api("POST", f"/v1/authorities/{former}:revoke", {"force": True})
    with pytest.raises(jwt.PyJWKClientError):
        await oidc.verify(token)


async def test_a_forged_token_is_refused(oidc: Provider) -> None:
    header, _, signature = (await oidc.mint()).split(".")
    other = (await oidc.mint(spiffe_id="spiffe://example.org/other")).split(".")[1]
    with pytest.raises(jwt.InvalidSignatureError):
        await oidc.verify(f"{header}.{other}.{signature}")


async def test_bundle_and_discovery_on_one_listener(tmp_path: Path) -> None:
    pki = WebPki()
    files = dict(zip(("cert_file", "key_file"), map(str, pki.issue().write(tmp_path)), strict=True))
    (port,) = free_ports(1)
    keys = {
        f"endpoints__{name}__{key}": value
        for name in ("bundle", "oidc")
        for key, value in {"listen": f"127.0.0.1:{port}", "profile": "https_web", **files}.items()
    }
    async with running(**keys, jwt__issuer=f"https://localhost:{port}") as node:
        assert len(node.server._parts.public) == 1
        oidc = Provider(node, f"https://localhost:{port}", pki.client())
        assert (await oidc.verify(await oidc.mint()))["sub"] == WEB
        document = (await oidc.get(f"{oidc.issuer}/")).content
        assert {key["use"] for key in json.loads(document)["keys"]} == {"x509-svid", "jwt-svid"}


def test_discovery_needs_an_issuer() -> None:
    keys = {"endpoints.oidc.listen": "127.0.0.1:9000", "endpoints.oidc.profile": "http"}
    with pytest.raises(ConfigError, match=r"jwt\.issuer"):
        load_server_config(None, {}, {"trust_domain": "example.org", **keys})
