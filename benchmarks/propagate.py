"""Entry created, or changed -> new certificate at the sidecar, with 200 sidecars connected. Needs root.

`python -m benchmarks.propagate` starts a real server and agent and a fleet of sidecar processes (benchmarks.fleet).
Each sidecar waits on an open stream until its entry is created; then entries are changed one after another at a steady
pace. The time runs from the moment before the admin call until the sidecar has the certificate. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.lines import LineProcess
from benchmarks.machine import facts, percentile
from sds.demo.stack import Stack

UID_BASE = 50_000
WITHIN = 30.0


class OpenStack(Stack):
    """The agent's socket lies outside its private folder, because the sidecars run as other users."""

    __slots__ = ()

    @property
    def sds_socket(self) -> Path:
        return self.folder / "sds.sock"


class Fleet:
    """The sidecar processes and the time at which each received its latest secret."""

    def __init__(self, socket: Path, count: int) -> None:
        flags = ("--socket", str(socket), "--count", str(count), "--uid-base", str(UID_BASE))
        self._process = LineProcess("benchmarks.fleet", *flags)
        self._waiting: dict[int, asyncio.Future[float]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._process.start()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            index, at, *rest = (await self._process.line(3600)).split()
            waiting = self._waiting.pop(int(index), None)
            if waiting is None or waiting.done():
                continue
            if at == "failed":
                waiting.set_exception(RuntimeError(f"sidecar {index}: {' '.join(rest)}"))
            else:
                waiting.set_result(float(at))

    def next(self, index: int) -> asyncio.Future[float]:
        """When sidecar `index` receives its next secret."""
        self._waiting[index] = asyncio.get_running_loop().create_future()
        return self._waiting[index]

    async def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._process.stop()


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    seconds.sort()
    shares = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(seconds, share) * 1e3, 2) for name, share in shares.items()}


async def run(sidecars: int, changes: int, pace: float) -> dict[str, object]:
    created: list[float] = []
    changed: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        stack = OpenStack(folder)
        await stack.start_server()
        await stack.start_agent()
        fleet = Fleet(stack.sds_socket, sidecars)
        entries = []
        try:
            await fleet.start()
            await asyncio.sleep(3)  # all streams open and waiting
            for index in range(sidecars):
                arrival, start = fleet.next(index), time.monotonic()
                entries.append(await stack.create_entry(f"bench/{index}", [f"unix:uid:{UID_BASE + index}"]))
                created.append(await asyncio.wait_for(arrival, WITHIN) - start)
                await asyncio.sleep(pace)
            for turn in range(changes):
                index = turn % sidecars
                entry = entries[index]
                body = {key: entry[key] for key in ("spiffe_id", "parent_id", "selectors")}
                arrival, start = fleet.next(index), time.monotonic()
                await stack.call(
                    "PUT", f"/v1/entries/{entry['id']}", body | {"dns_names": [f"turn-{turn}.example.org"]}
                )
                changed.append(await asyncio.wait_for(arrival, WITHIN) - start)
                await asyncio.sleep(pace)
        finally:
            await fleet.stop()
            await stack.stop()
    return {
        "benchmark": "propagate",
        "sidecars": sidecars,
        "created_ms": _milliseconds(created),
        "changed_ms": _milliseconds(changed),
        "changes": changes,
        "machine": facts(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sidecars", type=int, default=200)
    parser.add_argument("--changes", type=int, default=400)
    parser.add_argument("--pace", type=float, default=0.01, help="pause between changes, seconds")
    given = parser.parse_args()
    if os.getuid() != 0:
        sys.exit("benchmarks.propagate needs root: every sidecar runs under a uid of its own")
    print(json.dumps(asyncio.run(run(given.sidecars, given.changes, given.pace)), indent=2))
