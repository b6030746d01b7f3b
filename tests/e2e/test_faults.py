"""Server or agent die and come back; what has certificates goes on, and what changed meanwhile arrives."""

from __future__ import annotations

import pytest

from sds.demo.envoy import Envoy
from sds.demo.ports import free_ports
from tests.e2e.harness.sds_client import mosn
from tests.e2e.harness.wait import PATIENCE, eventually, here
from tests.e2e.harness.world import World, traffic

pytestmark = pytest.mark.e2e


async def has_new_certificate(envoy: Envoy, than: set[str], within: float = PATIENCE) -> set[str]:
    """Waits until Envoy holds another leaf than `than`."""

    async def new() -> set[str]:
        held = await envoy.admin.serials()
        return held if held and not held & than else set()

    return await eventually(new, within)


async def test_the_server_is_killed_and_comes_back(world: World) -> None:
    """A sidecar that starts meanwhile is served from memory; what changes afterwards arrives; no new join token."""
    entry = await world.entry("front")
    await world.entry("back")
    pair = await world.pair()
    held = await pair.front.admin.serials()
    async with traffic(pair.url) as tally:
        await world.stack.server.kill()
        ports = free_ports(2)
        config = world.front_config("late", ports[0], ports[1], ["back"], world.source())
        late = await world.envoy("late", config, identity="front")
        assert await late.admin.serials() == held
        await world.stack.start_server()
        await world.rotate(entry, 1)
        await has_new_certificate(pair.front, held)
        await has_new_certificate(late, held)
    assert tally.failed == 0, list(tally.failures)
    agents = (await world.cli("agent", "list")).json
    assert [agent["spiffe_id"] for agent in agents["agents"]] == [world.stack.agent_id]


async def test_certificates_due_while_the_server_is_away_are_renewed_when_it_is_back(world: World) -> None:
    lifetime = f"{min(await here(12.0), PATIENCE):.0f}s"  # half of it is there for the server to come back in
    await world.entry("front", "--x509-ttl", lifetime)
    await world.entry("back", "--x509-ttl", lifetime)
    pair = await world.pair()
    async with traffic(pair.url) as tally:
        await world.stack.server.kill()
        before = await pair.front.admin.serials()
        await world.stack.start_server()
        await has_new_certificate(pair.front, before)
        await has_new_certificate(pair.back, await pair.back.admin.serials())
    assert tally.failed == 0, list(tally.failures)


async def test_the_agent_is_killed_and_comes_back(world: World) -> None:
    """Envoy reconnects by itself; the agent needs no new token; the serving went on."""
    entry = await world.entry("front")
    await world.entry("back")
    pair = await world.pair()
    held = await pair.front.admin.serials()
    async with traffic(pair.url) as tally:
        await world.stack.agent.kill()
        await world.stack.start_agent()
        fresh = await has_new_certificate(pair.front, held)
        await world.rotate(entry, 1)
        await has_new_certificate(pair.front, fresh)
    assert tally.failed == 0, list(tally.failures)


async def test_a_client_with_mosns_habits_is_served_again_after_the_agent_was_killed(world: World) -> None:
    """Its second stream stays silent for good, and is answered from the subscriptions in the data folder."""
    entry = await world.own_entry("mosn")
    async with mosn(world.stack.sds_socket, "default", "ROOTCA") as client:
        await client.until_holds("default", "ROOTCA")
        kept = world.folder / "agent/subscriptions.json"

        async def remembered() -> bool:
            return kept.exists() and b"ROOTCA" in kept.read_bytes()

        await eventually(remembered)
        await world.stack.agent.kill()
        await client.until_ended()
    await world.stack.start_agent()
    async with mosn(world.stack.sds_socket) as silent:
        await silent.until_holds("default", "ROOTCA")
        before = silent.versions["default"]
        await world.rotate(entry, 1)
        await silent.until(lambda: silent.versions["default"] != before)
    assert b"PRIVATE" not in kept.read_bytes()
