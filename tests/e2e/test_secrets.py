"""Named secrets in real Envoys: a value changes, and the next request goes out with it. No restart, no failed request."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography import x509

from sds.demo.envoy_config import SdsProtocol
from sds.demo.ports import LOOPBACK, free_ports
from tests.contract.public.pki import Pair, WebPki
from tests.e2e.harness.secret_envoys import ECHO, gateway, injector, oauth2, provider
from tests.e2e.harness.secret_traffic import Secrets, no_canary, requests, unharmed, until
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.fakes.vault_server import VaultServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
PROTOCOLS = [SdsProtocol.SOTW, SdsProtocol.DELTA]


@pytest.mark.slow_on(SdsProtocol.DELTA)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_injected_credential_changes_under_traffic(world: World, protocol: SdsProtocol) -> None:
    secrets, (port, back_port) = Secrets(world), free_ports(2)
    await world.entry("web")
    await secrets.define("upstream/key", "web")
    await secrets.put("upstream/key", "canary-key-0")
    source, admin = world.source(protocol), str(world.folder / "web.sock")
    envoy = await world.envoy("web", injector("web", admin, port, back_port, source, "upstream/key"))
    async with requests(port) as seen:
        for number in range(1, 4):
            await until(lambda: seen.values[-1:] == [f"canary-key-{number - 1}"])  # noqa: B023
            await secrets.put("upstream/key", f"canary-key-{number}")
        await until(lambda: seen.values[-1:] == ["canary-key-3"])
        await world.cli("secret", "rollback", "upstream/key", "1")
        await until(lambda: seen.values[-1:] == ["canary-key-0"])
    await unharmed(envoy, seen)
    assert seen.values == ["canary-key-0", "canary-key-1", "canary-key-2", "canary-key-3", "canary-key-0"]
    status = (await world.agent_call("/v1/status")).json()["secrets"]
    assert (status["wanted"], status["held"], status["attention"]) == (1, 1, [])
    no_canary(world, *seen.values)


async def test_an_outage_of_the_server_harms_nobody(world: World) -> None:
    secrets, (port, back_port) = Secrets(world), free_ports(2)
    await world.entry("web")
    await secrets.define("upstream/key", "web")
    await secrets.put("upstream/key", "canary-key-1")
    admin = str(world.folder / "web.sock")
    envoy = await world.envoy("web", injector("web", admin, port, back_port, world.source(), "upstream/key"))
    async with requests(port) as seen:
        await until(lambda: seen.values == ["canary-key-1"])
        assert world.stack.server is not None
        await world.stack.server.kill()
        before = seen.requests
        await until(lambda: seen.requests > before + 50)
        await world.stack.start_server()
        await secrets.put("upstream/key", "canary-key-2")
        await until(lambda: seen.values[-1:] == ["canary-key-2"], within=90)
    await unharmed(envoy, seen)
    assert seen.values == ["canary-key-1", "canary-key-2"]


async def test_another_workload_on_the_same_socket_gets_it_by_a_grant_only(world: World) -> None:
    """Two Envoys ask one agent for one name. What takes a grant away takes nothing from the other."""
    secrets, (port, back_port, other_port, other_back) = Secrets(world), free_ports(4)
    for name in ("web", "other"):
        await world.entry(name)
    await secrets.define("upstream/key", "web")
    await secrets.put("upstream/key", "canary-key-1")
    source = world.source(SdsProtocol.DELTA)
    config = injector("web", str(world.folder / "web.sock"), port, back_port, source, "upstream/key")
    web = await world.envoy("web", config)
    config = injector("other", str(world.folder / "other.sock"), other_port, other_back, source, "upstream/key")
    other = await world.envoy("other", config)
    async with requests(port) as seen, httpx.AsyncClient(trust_env=False) as client:
        await until(lambda: seen.values == ["canary-key-1"])

        async def injected() -> str | None:
            answer = await client.get(f"http://{LOOPBACK}:{other_port}/")
            return answer.headers.get(ECHO) if answer.status_code == 200 else None

        assert await injected() is None
        ran = await world.cli("grant", "create", "upstream/key", "--to", world.id("other"))
        assert await eventually(injected, within=30) == "canary-key-1"
        await world.cli("grant", "delete", ran.json["id"], "--yes")

        async def refused() -> bool:
            attention = (await world.agent_call("/v1/status")).json()["secrets"]["attention"]
            return [(one["spiffe_id"], one["state"]) for one in attention] == [(world.id("other"), "not_granted")]

        await eventually(refused, within=30)
        await other.stop()
        other = await world.envoy("other", config, ready=False)
        await other.ready()
        assert await injected() is None
        await secrets.put("upstream/key", "canary-key-2")
        await until(lambda: seen.values[-1:] == ["canary-key-2"])
    await unharmed(web, seen)


async def login(port: int) -> tuple[int, dict[str, str]]:
    """As a browser: sent to the provider, and back from it with a code. The last answer's status, and the cookies."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        base = f"http://{LOOPBACK}:{port}"
        away = await browser.get(f"{base}/")
        if away.status_code != 302:
            return away.status_code, {}
        cookies = _cookies(away)
        state = parse_qs(urlsplit(away.headers["location"]).query)["state"][0]
        back = await browser.get(
            f"{base}/callback", params={"code": "1234", "state": state}, headers={"cookie": _header_of(cookies)}
        )
        return back.status_code, cookies | _cookies(back)


def _cookies(answer: httpx.Response) -> dict[str, str]:
    pairs = (line.split(";")[0].split("=", 1) for line in answer.headers.get_list("set-cookie"))
    return {name: value for name, value in pairs if value != "deleted"}


def _header_of(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


@pytest.mark.slow_on(SdsProtocol.DELTA)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_oauth2_client_has_its_secrets_changed_under_traffic(world: World, protocol: SdsProtocol) -> None:
    """The provider is shown the new client secret; a new HMAC secret ends sessions that were signed by the former."""
    secrets, (port, back_port, provider_port) = Secrets(world), free_ports(3)
    await world.entry("web")
    for name, value in (("oauth/token", "canary-client-1"), ("oauth/hmac", "canary-hmac-1")):
        await secrets.define(name, "web")
        await secrets.put(name, value)
    source, admin = world.source(protocol), str(world.folder / "web.sock")
    config = oauth2(
        "web",
        admin,
        port,
        back_port,
        source,
        provider_port,
        token_secret="oauth/token",
        hmac_secret="oauth/hmac",
    )
    async with provider(provider_port) as shown:
        envoy = await world.envoy("web", config)
        status, cookies = await login(port)
        assert status == 302
        assert shown.secrets == ["canary-client-1"]
        async with requests(port, cookies) as seen:
            await until(lambda: seen.values == ["Bearer token-1"])
            await secrets.put("oauth/token", "canary-client-2")

            async def shows_the_new_one() -> bool:
                await login(port)
                return shown.secrets[-1] == "canary-client-2"

            await eventually(shows_the_new_one, within=30)
        await unharmed(envoy, seen)
        assert set(shown.secrets) == {"canary-client-1", "canary-client-2"}
        await secrets.put("oauth/hmac", "canary-hmac-2")

        async def signed_anew() -> bool:
            status, fresh = await login(port)
            assert status == 302
            async with httpx.AsyncClient(trust_env=False, cookies=fresh) as browser:
                new = await browser.get(f"http://{LOOPBACK}:{port}/")
            async with httpx.AsyncClient(trust_env=False, cookies=cookies) as browser:
                old = await browser.get(f"http://{LOOPBACK}:{port}/")
            return (new.status_code, old.status_code) == (200, 302)

        await eventually(signed_anew, within=30)
        await unharmed(envoy, seen)
    no_canary(world, "canary-client", "canary-hmac")


async def serial(port: int, server_name: str) -> int:
    """Of the certificate that is presented for this name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname=server_name)
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der).serial_number
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


@pytest.mark.slow_on(SdsProtocol.ADS, SdsProtocol.DELTA)
@pytest.mark.parametrize("protocol", list(SdsProtocol))
async def test_a_gateway_gets_a_certificate_for_each_of_its_names(world: World, protocol: SdsProtocol) -> None:
    """One that is bad is never sent, and holds up no other."""
    secrets, pki, (port,) = Secrets(world), WebPki(), free_ports(1)
    await world.entry("gateway")
    names = {f"{letter}.example.test": f"gateway/{letter}" for letter in "abc"}
    pairs = {name: pki.issue() for name in names.values()}
    for name, pair in pairs.items():
        await secrets.define(name, "gateway", "--kind", "certificate")
        await secrets.put_pair(name, pair)
    source = world.source(protocol)
    envoy = await world.envoy("gateway", gateway("gateway", str(world.folder / "gateway.sock"), port, source, names))

    async def presented() -> dict[str, int]:
        return {secret: await serial(port, server_name) for server_name, secret in names.items()}

    assert await presented() == {name: pair.serial for name, pair in pairs.items()}
    if protocol.aggregated:
        streams = [s for s in await world.stack.streams() if s["spiffe_ids"] == [world.id("gateway")]]
        assert len(streams) <= 1
    pairs["gateway/b"] = pki.issue()
    await secrets.put_pair("gateway/b", pairs["gateway/b"])

    async def all_new() -> bool:
        return await presented() == {name: pair.serial for name, pair in pairs.items()}

    await eventually(all_new, within=30)
    mismatched = Pair(pki.issue().certificate, pki.issue().key)
    with suppress(AssertionError):  # refused by the command, or by the server when it looks at it
        await secrets.put_pair("gateway/a", mismatched)
    pairs["gateway/c"] = pki.issue()
    await secrets.put_pair("gateway/c", pairs["gateway/c"])
    await eventually(all_new, within=30)
    await unharmed(envoy)


async def test_two_sidecars_of_one_identity_resume_each_others_sessions(world: World) -> None:
    """The keys of their session tickets come from the server, the same for both, and differ between identities."""
    secrets, pki, ports = Secrets(world), WebPki(), free_ports(3)
    pair = pki.issue()
    for name in ("gateway", "other"):
        await world.entry(name)
    await secrets.define("gateway/a", "gateway", "--kind", "certificate")
    await secrets.put_pair("gateway/a", pair)
    await world.cli("grant", "create", "gateway/a", "--to", world.id("other"))
    names = {"a.example.test": "gateway/a"}
    for name, identity, port in zip(("one", "two", "stranger"), ("gateway", "gateway", "other"), ports, strict=True):
        admin = str(world.folder / f"{name}.sock")
        await world.envoy(name, gateway(name, admin, port, world.source(), names, tickets=True), identity=identity)
    session = world.folder / "session.pem"
    first = await s_client(ports[0], "-sess_out", str(session))
    assert re.search(r"^New, ", first, re.MULTILINE), first
    assert "Reused, " in await s_client(ports[0], "-sess_in", str(session))
    assert "Reused, " in await s_client(ports[1], "-sess_in", str(session))
    assert "Reused, " not in await s_client(ports[2], "-sess_in", str(session))


async def s_client(port: int, *more: str) -> str:
    """`openssl s_client` with TLS 1.2, where the ticket comes with the handshake."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-servername", "a.example.test", "-tls1_2", *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return out.decode(errors="replace")


@pytest.mark.slow_on(SdsProtocol.DELTA)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_change_in_vault_reaches_the_header(
    empty_world: World, vault_shared: VaultServer, protocol: SdsProtocol
) -> None:
    """A KV engine in a real OpenBao: written there, used by Envoy; nobody tells sds."""
    world, secrets, (port, back_port) = empty_world, Secrets(empty_world), free_ports(2)
    mount = vault_shared.mount("kv", {"version": "2"})
    rules = f'path "{mount}/*" {{ capabilities = ["read", "list"] }}'
    token = world.folder / "vault-token"
    token.touch(mode=0o600)
    token.write_text(vault_shared.token(vault_shared.policy(rules)))
    world.stack.server_env = {
        "SDS_SERVER_VAULT__ADDRESS": vault_shared.url,
        "SDS_SERVER_VAULT__AUTH__METHOD": "token_file",
        "SDS_SERVER_VAULT__AUTH__TOKEN_FILE": str(token),
    }

    async def write(value: str) -> None:
        await vault_shared.write(f"{mount}/data/upstream", {"data": {"key": value}})

    await write("canary-vault-0")
    await world.start()
    await world.entry("web")
    where = ("--from", "kv", "--mount", mount, "--path", "upstream", "--field", "key")
    await secrets.define("upstream/key", "web", *where)
    source, admin = world.source(protocol), str(world.folder / "web.sock")
    envoy = await world.envoy("web", injector("web", admin, port, back_port, source, "upstream/key"))
    async with requests(port) as seen:
        for number in range(1, 4):
            await until(lambda: seen.values[-1:] == [f"canary-vault-{number - 1}"], within=60)  # noqa: B023
            await write(f"canary-vault-{number}")
        await until(lambda: seen.values[-1:] == ["canary-vault-3"], within=60)
    await unharmed(envoy, seen)
    assert seen.values == [f"canary-vault-{number}" for number in range(4)]
    no_canary(world, "canary-vault")
