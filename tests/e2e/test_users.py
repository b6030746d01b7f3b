"""A sidecar that runs as another user than the agent."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sds.demo.stack import Stack
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="kernel: becomes another user, which only root can"),
]
ROOT = Path(__file__).parents[2]
OTHER = 54_321  # a user that nobody else is


class Reachable(Stack):
    """The public socket lies where every user may go; the data folder stays closed."""

    @property
    def sds_socket(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-open") / "sds.sock"


@pytest.fixture
async def reachable() -> AsyncIterator[World]:
    async with new_world() as made:
        made.stack = Reachable(made.folder)
        folder = made.stack.sds_socket.parent
        folder.mkdir()
        folder.chmod(0o755)
        await made.start()
        try:
            yield made
        finally:
            shutil.rmtree(folder)


async def as_other(socket: Path, *names: str) -> dict[str, dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.harness.other_user", str(OTHER), str(socket), *names),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    found: dict[str, dict[str, str]] = json.loads(out)
    return found


async def test_another_users_sidecar_gets_its_own_identity_and_nobody_elses(reachable: World) -> None:
    socket = reachable.stack.sds_socket
    theirs, ours = reachable.id("theirs"), reachable.id("ours")
    await reachable.entry("theirs", selectors=[f"unix:uid:{OTHER}"])
    await reachable.entry("ours", selectors=[f"unix:uid:{os.geteuid()}"])

    async def served() -> dict[str, dict[str, str]] | None:
        found = await as_other(socket, "default", theirs, ours)
        return found if "id" in found["default"] else None

    found = await eventually(served)
    assert found is not None
    assert found["default"] == found[theirs] == {"id": theirs}
    assert found[ours]["refused"] in {"NOT_FOUND", "PERMISSION_DENIED"}
    assert "cannot reach the socket" not in reachable.stack.agent.tail(1000)  # type: ignore[union-attr]

    async def audited() -> bool:
        events = (await reachable.cli("audit", "tail", "--action", "secret.refused")).json_lines
        return any(ours in json.dumps(event) and str(OTHER) in json.dumps(event) for event in events)

    await eventually(audited)


async def test_a_socket_in_the_data_folder_is_out_of_their_reach_and_the_agent_says_so(world: World) -> None:
    socket = world.stack.sds_socket
    assert (await as_other(socket, "default"))["default"]["refused"] == "UNAVAILABLE"
    assert world.stack.agent is not None
    lines = [json.loads(line) for line in world.stack.agent.tail(1000).splitlines()]
    (warning,) = [line for line in lines if "cannot reach the socket" in line["event"]]
    assert (warning["level"], warning["folder"]) == ("warning", str(world.folder))
    assert "--socket" in warning["event"]
