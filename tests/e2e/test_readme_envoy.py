"""The Envoy configuration in README.md, taken from the page and run: who is let in, and who is not."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from sds.demo.envoy import Envoy
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.process import Child
from sds.demo.traffic import Tally
from tests.e2e.harness.app import app
from tests.e2e.harness.http import one_request
from tests.e2e.harness.world import World

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def snippet() -> str:
    """The one YAML block of the page."""
    (found,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return found


def test_the_page_and_the_file_say_the_same() -> None:
    assert snippet() == (ROOT / "deploy/envoy/sidecar.yaml").read_text()


class Ports:
    def __init__(self) -> None:
        self.inbound, self.outbound, self.payments, self.app, self.web, self.stranger = free_ports(6)


async def run_snippet(world: World, ports: Ports) -> Envoy:
    """The snippet as the sidecar of `orders`, with only addresses and paths changed."""
    text = snippet()
    for old, new in {
        "/run/orders/envoy-admin.sock": str(world.folder / "orders.sock"),
        "/run/sds/sds.sock": str(world.stack.sds_socket),
        "address: 0.0.0.0, port_value: 8443": f"address: {LOOPBACK}, port_value: {ports.inbound}",
        "address: payments.internal, port_value: 8443": f"address: {LOOPBACK}, port_value: {ports.payments}",
        "port_value: 9001": f"port_value: {ports.outbound}",
        "port_value: 8080": f"port_value: {ports.app}",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = world.folder / "orders.yaml"
    file.write_text(text)
    argv = [str(world.binary("orders")), "-c", str(file), "--log-level", "warning", "--disable-hot-restart"]
    envoy = Envoy(
        await Child.start("orders", [*argv, "--concurrency", "1"], world.folder / "orders.log"),
        world.folder / "orders.sock",
    )
    world.envoys.append(envoy)
    await envoy.ready()
    return envoy


async def san_refusals(envoy: Envoy) -> int:
    return sum((await envoy.admin.stats(".*[.]ssl[.]fail_verify_san")).values())


async def test_inbound_lets_in_the_named_id_and_nobody_else(world: World) -> None:
    """Both callers hold valid certificates of the trust domain."""
    for name in ("orders", "web", "stranger"):
        await world.entry(name)
    ports = Ports()
    orders = await run_snippet(world, ports)
    await world.envoy("web", world.front_config("web", ports.web, ports.inbound, ["orders"], world.source()))
    await world.envoy(
        "stranger", world.front_config("stranger", ports.stranger, ports.inbound, ["orders"], world.source())
    )
    async with app(ports.app), httpx.AsyncClient(trust_env=False) as client:
        welcome = await client.get(f"http://{LOOPBACK}:{ports.web}/")
        assert (welcome.status_code, welcome.text) == (200, "hello from the app\n")
        assert await san_refusals(orders) == 0
        refused = await client.get(f"http://{LOOPBACK}:{ports.stranger}/")
    assert refused.status_code == 503
    assert await san_refusals(orders) >= 1


async def test_outbound_talks_to_the_named_id_and_to_nobody_else(world: World) -> None:
    for name in ("orders", "payments", "stranger"):
        await world.entry(name)
    ports = Ports()
    orders = await run_snippet(world, ports)
    url = f"http://{LOOPBACK}:{ports.outbound}/"
    payments = await world.envoy("payments", world.back_config("payments", ports.payments, ["orders"], world.source()))
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).status_code == 200
        await payments.stop()
        await world.envoy("stranger", world.back_config("stranger", ports.payments, ["orders"], world.source()))
        assert (await client.get(url)).status_code == 503
    assert await san_refusals(orders) >= 1


@pytest.mark.parametrize("side", ["front", "back"])
async def test_a_peer_outside_the_allowed_ids_is_refused(world: World, side: str) -> None:
    """The same with the configurations that the demo and these tests run."""
    for name in ("front", "back", "stranger"):
        await world.entry(name)
    port, back_port = free_ports(2)
    names = {"front": "front", "back": "back"} | {side: "stranger"}
    server = await world.envoy(
        "server", world.back_config("server", back_port, ["front"], world.source()), identity=names["back"]
    )
    client = await world.envoy(
        "client", world.front_config("client", port, back_port, ["back"], world.source()), identity=names["front"]
    )
    tally = await one_request(f"http://{LOOPBACK}:{port}/", Tally())
    assert tally.failed == 1
    assert await san_refusals({"front": server, "back": client}[side]) >= 1
