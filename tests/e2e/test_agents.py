"""An agent that is banned, one whose token was used, and what an agent can see."""

from __future__ import annotations

import grpc
import pytest

from sds.demo.errors import DemoError
from tests.e2e.harness import sds_client
from tests.e2e.harness.cli import sds
from tests.e2e.harness.wait import eventually, stays
from tests.e2e.harness.world import World

pytestmark = pytest.mark.e2e


async def test_a_banned_agent_is_cut_off(world: World) -> None:
    """Nothing more is issued to it and changes no longer reach it; its sidecars keep what they have."""
    entry = await world.entry("front")
    await world.entry("back")
    pair = await world.pair()
    held = await pair.front.admin.serials()
    await world.cli("agent", "ban", world.stack.agent_id, "--reason", "stolen laptop", "--yes")
    await world.rotate(entry, 1)

    async def cut_off() -> bool:
        return await pair.front.admin.serials() == held

    await stays(cut_off, during=2.0)
    (agent,) = (await world.cli("agent", "list")).json["agents"]
    assert agent["banned_at"]
    events = (await world.cli("audit", "tail")).json_lines
    assert [e for e in events if e["action"] == "agent.ban"]


async def test_a_banned_agent_gets_nothing_after_a_restart_either(world: World) -> None:
    await world.cli("agent", "ban", world.stack.agent_id, "--reason", "test", "--yes")
    await world.own_entry()
    await world.stack.agent.stop()
    with pytest.raises(DemoError, match="not ready"):
        await world.stack.start_agent(within=5)
    with pytest.raises(grpc.aio.AioRpcError):
        await sds_client.fetch(world.stack.sds_socket, "default")
    assert "ban" in world.stack.agent.tail()


async def test_a_join_token_works_once(world: World) -> None:
    """A second agent with the same token is refused, and that is audited."""
    folder = world.folder / "second"
    folder.mkdir(mode=0o700)
    refused = await sds(
        *("agent", "run", "--server", f"127.0.0.1:{world.stack.ports[0]}"),
        *("--attest-server", f"127.0.0.1:{world.stack.ports[1]}"),
        *("--trust-bundle", str(world.folder / "bundle.pem"), "--join-token-file", str(world.folder / "join-token")),
        *("--data-dir", str(folder), "--socket", str(folder / "sds.sock")),
    )
    assert refused.status != 0
    assert "sds token create" in refused.err

    async def audited() -> bool:
        events = (await world.cli("audit", "tail")).json_lines
        return any(e["action"] == "agent.attest" and e["outcome"] == "refused" for e in events)

    await eventually(audited)
