"""Thousands of streams opened at once by one process that then dies leave everyone else served."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World, traffic

pytestmark = pytest.mark.e2e
CONNECTIONS = 1500  # two streams each


async def flood(world: World) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.sidecars", "--socket", str(world.stack.sds_socket)),
        *("--connections", str(CONNECTIONS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
    )


@pytest.mark.parametrize("when", ["half-way", "served"])
async def test_a_flood_that_dies_leaves_everyone_served(world: World, when: str) -> None:
    entry = await world.entry("front")
    await world.entry("back")
    await world.own_entry("flood")
    pair = await world.pair()
    async with traffic(pair.url) as tally:
        process = await flood(world)
        if when == "half-way":

            async def begun() -> bool:
                return await streams(world) > CONNECTIONS / 3

            await eventually(begun, within=60)
        else:
            assert b"ready" in await asyncio.wait_for(process.stdout.readline(), 120)
        process.kill()
        await process.wait()
        held = await pair.front.admin.serials()
        await world.rotate(entry, 1)

        async def rotated() -> bool:
            return not held & await pair.front.admin.serials()

        await eventually(rotated)

        async def forgotten() -> bool:
            return await streams(world) == 4  # two of each Envoy

        await eventually(forgotten)
    assert tally.failed == 0, list(tally.failures)


async def streams(world: World) -> int:
    metrics = (await world.agent_call("/metrics")).text.splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in metrics if line.startswith("sds_agent_streams{")))
