"""The Envoy configuration in docs/secrets.md, taken from the page and run: the credential that goes out is the secret."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sds.demo.envoy import Envoy
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.process import Child
from tests.contract.public.pki import WebPki
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
CANARY = "Bearer CANARY-of-a-value"


def snippet() -> str:
    """The one YAML block of the page."""
    (found,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/secrets.md").read_text(), re.DOTALL | re.MULTILINE)
    return found


def test_the_page_on_secrets_and_the_file_say_the_same() -> None:
    assert snippet() == (ROOT / "deploy/envoy/credential-injector.yaml").read_text()


@asynccontextmanager
async def partner(folder: Path, port: int) -> AsyncIterator[None]:
    """Who demands the credential: over TLS, by its name, and tells what it was shown."""
    pki = WebPki()
    (folder / "ca.pem").write_bytes(pki.root_pem)
    certificate, key = pki.issue(names=("api.partner.example",)).write(folder, "partner")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        shown = re.findall(r"^authorization: (.*)\r$", head, re.MULTILINE | re.IGNORECASE)
        body = "|".join(shown).encode()
        length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{length}".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, port, ssl=context):
        yield


async def run_snippet(world: World, port: int, partner_port: int) -> Envoy:
    """With only addresses and paths changed."""
    text = snippet()
    for old, new in {
        "/run/orders/envoy-admin.sock": str(world.folder / "orders.sock"),
        "/run/sds/sds.sock": str(world.stack.sds_socket),
        "/etc/ssl/certs/ca-certificates.crt": str(world.folder / "ca.pem"),
        "address: api.partner.example, port_value: 443": f"address: {LOOPBACK}, port_value: {partner_port}",
        "port_value: 9002": f"port_value: {port}",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = world.folder / "orders.yaml"
    file.write_text(text)
    argv = [str(world.binary("orders")), "-c", str(file), "--log-level", "warning", "--disable-hot-restart"]
    child = await Child.start("orders", [*argv, "--concurrency", "1"], world.folder / "orders.log")
    envoy = Envoy(child, world.folder / "orders.sock")
    world.envoys.append(envoy)
    await envoy.ready()
    return envoy


async def test_the_page_on_secrets_works_with_a_real_envoy(world: World) -> None:
    """Granted and put it goes out, changed it goes out changed; what the application sends instead does not count."""
    await world.entry("orders")
    port, partner_port = free_ports(2)
    value = world.folder / "value"

    async def put(text: str) -> None:
        value.write_text(text)
        await world.cli("secret", "put", "partner/api-key", "--file", str(value))

    await world.cli("secret", "create", "partner/api-key", "--owner", "team-orders")
    await world.cli("grant", "create", "partner/api-key", "--to", world.id("orders"))
    await put(CANARY)
    async with partner(world.folder, partner_port), httpx.AsyncClient(trust_env=False) as client:
        envoy = await run_snippet(world, port, partner_port)

        async def goes_out(wanted: str) -> bool:
            sent = {"authorization": "of the application"}
            try:
                answer = await client.get(f"http://{LOOPBACK}:{port}/", headers=sent)
            except httpx.HTTPError:
                return False
            return answer.status_code == 200 and answer.text == wanted

        await eventually(lambda: goes_out(CANARY), 60)
        await put(CANARY + "-2")
        await eventually(lambda: goes_out(CANARY + "-2"), 60)

        async def watched() -> bool:
            shown = (await world.cli("secret", "show", "partner/api-key")).json
            return bool(shown["watchers"] == 1 and shown["state"]["version"] == "2")

        await eventually(watched, 60)
        assert await envoy.admin.restart_epoch() == 0
        value.unlink()
    audit = (await world.cli("audit", "tail", "--lines", "200")).out
    assert "secret.deliver" in audit
    for place, text in (("the audit log", audit), *world.logs()):
        assert "CANARY" not in text, place
    for file in (*world.folder.glob("*.log"), *world.folder.glob("server/*sqlite*")):
        assert b"CANARY" not in file.read_bytes(), file
