"""The SPIFFE Workload API through the standard's own Python client library."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.wait import PATIENCE, eventually
from tests.e2e.harness.world import World

pytestmark = pytest.mark.e2e

CLIENT = Path(__file__).parent / "harness/workload_client.py"


class Client:
    """The client process, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    async def until(self, wanted: Callable[[dict[str, Any]], bool], within: float = PATIENCE) -> dict[str, Any]:
        """The next line that is as `wanted`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within):
            while True:
                line = await self.process.stdout.readline()
                assert line, "the client has ended"
                self.said.append(json.loads(line))
                if wanted(self.said[-1]):
                    return self.said[-1]

    async def source_holds(self, serial: str) -> bool:
        """Whether an X509Source, which has a stream of its own, holds the SVID with this serial."""
        await self.ask("source")
        return (await self.until(lambda said: "source" in said))["source"] == str(serial)

    async def ask(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        await self.process.stdin.drain()


@asynccontextmanager
async def client(world: World, what: str = "watch") -> AsyncIterator[Client]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", CLIENT, what, str(world.stack.sds_socket), stdin=pipe, stdout=pipe
    )
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_source_has_the_svid_and_follows_rotations_and_entries(world: World) -> None:
    entry = await world.own_entry("web")
    async with client(world) as program:
        first = await program.until(lambda said: True)
        assert first["ids"] == [world.id("web")]
        assert first["verified"] == [True]
        assert first["authorities"] == {"example.org": 1}
        await world.rotate(entry, 1)
        second = await program.until(lambda said: said["serials"] != first["serials"])
        assert (second["ids"], second["verified"]) == (first["ids"], [True])
        await eventually(lambda: program.source_holds(second["serials"][0]))
        await world.own_entry("db")
        both = await program.until(lambda said: len(said["ids"]) == 2)
        assert both["ids"] == [world.id("web"), world.id("db")], "the default stays the default"
        assert both["verified"] == [True, True]

        async def reported() -> bool:
            streams = [s for s in await world.stack.streams() if s["protocol"] == "workload-api"]
            sent = [{r["sent_serial"] for r in s["resources"]} for s in streams]
            return len(sent) == 2 and all(set(both["serials"]) <= serials for serials in sent)

        await eventually(reported)
        await program.ask("mtls")
        seen = await program.until(lambda said: "server saw" in said)
        assert seen == {"server saw": world.id("db"), "client saw": world.id("web")}
        updates = [said for said in program.said if "ids" in said]
        assert all(a != b for a, b in pairwise(updates)), "nothing is told twice"


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_program_outlives_the_agent_and_is_served_again(world: World, how: str) -> None:
    entry = await world.own_entry("web")
    async with client(world) as program:
        first = await program.until(lambda said: True)
        assert world.stack.agent is not None
        await getattr(world.stack.agent, how)()
        await world.stack.start_agent()
        await world.rotate(entry, 1)
        renewed = await program.until(lambda said: said["serials"] != first["serials"])
        assert renewed["verified"] == [True]


async def test_single_fetches_and_what_is_not_there_yet(world: World) -> None:
    await world.own_entry("web")
    async with client(world, "once") as program:
        found = await program.until(lambda said: True)
    assert found["svid"] == world.id("web")
    assert found["bundles"] == 1
    assert found["jwt"] == world.id("web")
    assert found["jwt_bundles"] == 1


async def test_a_stranger_is_denied(world: World) -> None:
    async with client(world, "once") as program:
        found = await program.until(lambda said: True)
    for name in ("svid", "bundles", "jwt", "jwt_bundles"):
        assert "PERMISSION_DENIED" in found[name], name
