"""A value changes, and every sidecar has it: a real server, a real agent, and simulated sidecars with a stream each.

When the server detected a change is the time of its audit event: that is made as soon as the new value is in memory and
judged, and its being written is part of what is measured. The floor is a bare server that pushes fixed bytes
(benchmarks.floor) to as many streams, in turn with ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from benchmarks.fanout import Floor
from benchmarks.lines import LineProcess
from benchmarks.secret.server import WITHIN, Kv, metrics, milliseconds, put, total
from sds.demo.stack import Stack

HERE, IN_VAULT = "bench/here", "bench/in-vault"
PATH = "bench/push"
PUSHED = "sds_server_secret_push_seconds"
VALUE_BYTES = 1024
Change = Callable[[int], Awaitable[None]]


class Load:
    """Sidecars on one socket, each with one stream for one secret."""

    def __init__(self, socket: Path, count: int, name: str) -> None:
        flags = ("--socket", str(socket), "--connections", str(count), "--names", name, "--timeout", str(WITHIN))
        self._process = LineProcess("benchmarks.sidecars", *flags)

    async def start(self) -> None:
        await self._process.start()
        json.loads(await self._process.line(WITHIN))

    async def arm(self) -> None:
        await self._process.send("expect")
        await self._process.line(WITHIN)

    async def received(self) -> list[float]:
        """The monotonic time of each receipt, sorted."""
        times: list[float] = json.loads(await self._process.line(WITHIN))["received"]
        return times

    async def stop(self) -> None:
        await self._process.stop()


async def deliveries(stack: Stack) -> int:
    """The number of the last audit event so far."""
    answer = (await stack.call("GET", "/v1/audit?limit=1")).json()
    return int(answer["last_sequence"])


async def detected(stack: Stack, after: int) -> float:
    """The monotonic time at which the delivery that was audited first after that event began."""
    async with asyncio.timeout(WITHIN):
        while True:
            query = f"/v1/audit?limit=100&action=secret.deliver&after={after}"
            events = (await stack.call("GET", query)).json()["events"]
            if events:
                at = datetime.fromisoformat(events[0]["time"]).timestamp()
                return at - time.time() + time.monotonic()
            await asyncio.sleep(0.02)


async def rounds(stack: Stack, load: Load, change: Change, count: int) -> dict[str, object]:
    """`count` changes one after another; each receipt of each sidecar is a measurement."""
    from_write: list[float] = []
    from_detection: list[float] = []
    slowest: list[float] = []
    before = await metrics(stack)
    for turn in range(count):
        sequence = await deliveries(stack)
        await load.arm()
        start = time.monotonic()
        await change(turn)
        received = await load.received()
        known = await detected(stack, sequence)
        from_write += [at - start for at in received]
        from_detection += [at - known for at in received]
        slowest.append(received[-1] - known)
    after = await metrics(stack)
    pushes = total(after, f"{PUSHED}_count") - total(before, f"{PUSHED}_count")
    spent = total(after, f"{PUSHED}_sum") - total(before, f"{PUSHED}_sum")
    return {
        "changes": count,
        "receipts": len(from_detection),
        "from_detection_ms": milliseconds(from_detection),
        "last_sidecar_from_detection_ms": milliseconds(slowest),
        "from_write_ms": milliseconds(from_write),
        "server_share_mean_ms": round(spent / pushes * 1e3, 2),
    }


async def floor_rounds(floor: Floor, load: Load, count: int) -> dict[str, float]:
    times: list[float] = []
    for turn in range(count):
        await load.arm()
        start = await floor.change(turn)
        times += [at - start for at in await load.received()]
    return milliseconds(times)


async def define(stack: Stack, name: str, source: dict[str, object]) -> None:
    await stack.call("POST", "/v1/secrets", {"name": name, "kind": "generic", "source": source})
    await stack.call("POST", "/v1/grants", {"secret": name, "spiffe_id": stack.id(PATH)})


async def measure(folder: Path, sidecars: int, changes: int, kv: Kv | None, kv_changes: int) -> dict[str, object]:
    """With `kv` the same again for a secret in Vault: the write there is the start, and polling is part of it."""
    env = {} if kv is None else kv.env
    stack = Stack(folder, server_env=env, agent_env={"SDS_AGENT_LIMITS__CONNECTION_BURST": str(2 * sidecars)})
    floor = Floor(folder)
    loads: list[Load] = []

    async def load(socket: Path, name: str) -> Load:
        made = Load(socket, sidecars, name)
        loads.append(made)
        await made.start()
        return made

    async def put_here(turn: int) -> None:
        await put(stack, HERE, f"turn {turn} ".encode().ljust(VALUE_BYTES, b"x"))

    async def put_in_vault(turn: int) -> None:
        assert kv is not None
        await asyncio.to_thread(kv.write, "push", f"turn {turn} ".ljust(VALUE_BYTES, "x"))

    try:
        await floor.start()
        await stack.start_server()
        await stack.start_agent()
        await stack.create_entry(PATH, [f"unix:uid:{os.getuid()}", f"unix:path:{Path(sys.executable).resolve()}"])
        await define(stack, HERE, {"backend": "embedded"})
        await put_here(-1)
        bare = await floor_rounds(floor, await load(floor.socket, "default"), changes)
        await loads[0].stop()
        ours = await rounds(stack, await load(stack.sds_socket, HERE), put_here, changes)
        found: dict[str, object] = {"sidecars": sidecars, "floor_ms": bare, "embedded": ours}
        if kv is not None:
            await put_in_vault(-1)
            fields = {"": "key"}
            await define(stack, IN_VAULT, {"backend": "kv", "mount": kv.mount, "path": "push", "fields": fields})
            found["kv"] = await rounds(stack, await load(stack.sds_socket, IN_VAULT), put_in_vault, kv_changes)
        return found
    finally:
        for one in loads:
            await one.stop()
        await floor.stop()
        await stack.stop()
