"""One change, N open streams: how long until every sidecar has the new certificate and has ACKed it.

`python -m benchmarks.fanout --streams N` runs a real server and a real agent, and the same load against a bare
grpc.aio server that pushes fixed bytes (benchmarks.floor), round for round in turn. Prints one JSON object; every
ratio is ours / floor of this run. Half as many simulated sidecars as streams, each with its own connection and two
streams (`default` and its SPIFFE ID, so that one change pushes on every stream), in a process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.lines import LineProcess
from benchmarks.machine import cpu_seconds, facts, percentile, rss_kb
from sds.demo.stack import Stack
from sds.demo.stack import call as admin_call

PATH = "bench/fanout"
SECRET_BYTES = 1900  # what a P-256 certificate with its key comes to as a Secret, near enough
TIMEOUT = 180.0


class Floor:
    """The bare server."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "floor.sock"
        self._process = LineProcess("benchmarks.floor", "--socket", str(self.socket), "--size", str(SECRET_BYTES))

    async def start(self) -> int:
        await self._process.start()
        await self._process.line(TIMEOUT)
        return self._process.pid

    async def change(self, _round: int) -> float:
        """Push to every stream and wait for the last ACK; the monotonic time when it began."""
        start = time.monotonic()
        await self._process.send("push")
        await self._process.line(TIMEOUT)
        return start

    async def stop(self) -> None:
        await self._process.stop()


class Ours:
    """A server and an agent as in production."""

    def __init__(self, folder: Path, streams: int) -> None:
        self.stack = Stack(folder, agent_env={"SDS_AGENT_LIMITS__CONNECTION_BURST": str(streams)})
        self.socket = self.stack.sds_socket
        self._streams = streams
        self._entry: dict[str, Any] = {}

    async def start(self) -> int:
        await self.stack.start_server()
        agent = await self.stack.start_agent()
        self._entry = await self.stack.create_entry(PATH, [f"unix:uid:{os.getuid()}"])
        return agent.pid

    async def change(self, turn: int) -> float:
        """Change the entry's DNS names and wait until the agent has counted every ACK."""
        wanted = await self._acks() + self._streams
        start = time.monotonic()
        body = {key: self._entry[key] for key in ("spiffe_id", "parent_id", "selectors")}
        body |= {"dns_names": [f"turn-{turn}.example.org"]}
        self._entry = (await self.stack.call("PUT", f"/v1/entries/{self._entry['id']}", body)).json()
        async with asyncio.timeout(TIMEOUT):
            while await self._acks() < wanted:
                await asyncio.sleep(0.02)
        return start

    async def _acks(self) -> int:
        metrics = (await admin_call(self.stack.agent_admin_socket, "GET", "/metrics")).text
        found = re.search(r"^sds_agent_acks_total ([0-9.e+]+)$", metrics, re.MULTILINE)
        return int(float(found[1])) if found else 0

    async def stop(self) -> None:
        await self.stack.stop()


class Side:
    """One of the two servers with its load attached."""

    def __init__(self, server: Floor | Ours, streams: int) -> None:
        self.server = server
        self.streams = streams
        self.pid = 0
        self.kb_a_stream = 0.0
        self.opened_s = 0.0
        self.rounds: list[dict[str, float]] = []
        self._load: LineProcess | None = None

    async def start(self, names: str) -> None:
        self.pid = await self.server.start()
        before = rss_kb(self.pid)
        arguments = ("--socket", str(self.server.socket), "--connections", str(self.streams // 2), "--names", names)
        self._load = LineProcess("benchmarks.sidecars", *arguments)
        start = time.monotonic()
        await self._load.start()
        json.loads(await self._load.line(TIMEOUT))
        self.opened_s = time.monotonic() - start
        await asyncio.sleep(1)  # let first reports and ACKs settle
        self.kb_a_stream = (rss_kb(self.pid) - before) / self.streams

    async def round(self, turn: int) -> None:
        assert self._load is not None
        await self._load.send("expect")
        await self._load.line(TIMEOUT)
        cpu = cpu_seconds(self.pid)
        start = await self.server.change(turn)
        acked = time.monotonic() - start
        received = [at - start for at in json.loads(await self._load.line(TIMEOUT))["received"]]
        self.rounds.append(
            {
                "total_s": received[-1],
                "acked_s": acked,
                "first_s": received[0],
                "spread_s": received[-1] - received[0],
                "p50_s": percentile(received, 0.50),
                "p99_s": percentile(received, 0.99),
                "cpu_us_a_push": (cpu_seconds(self.pid) - cpu) / self.streams * 1e6,
            }
        )

    def summary(self) -> dict[str, float]:
        medians = {key: statistics.median(each[key] for each in self.rounds) for key in self.rounds[0]}
        rounded = {key: round(value, 4) for key, value in medians.items()}
        return rounded | {"kb_a_stream": round(self.kb_a_stream, 1), "opened_s": round(self.opened_s, 2)}

    async def stop(self) -> None:
        if self._load is not None:
            await self._load.stop()
        await self.server.stop()


async def run(streams: int, rounds: int) -> dict[str, object]:
    results = {}
    with tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        sides = {"floor": Side(Floor(Path(folder)), streams), "ours": Side(Ours(Path(folder), streams), streams)}
        try:
            for label, side in sides.items():
                print(f"opening {streams} streams: {label}", file=sys.stderr)
                await side.start(f"default,spiffe://example.org/{PATH}")
            for turn in range(rounds):
                for label, side in sides.items():
                    print(f"round {turn + 1} of {rounds}: {label}", file=sys.stderr)
                    await side.round(turn)
            results = {label: side.summary() for label, side in sides.items()}
        finally:
            for side in sides.values():
                await side.stop()
    ratios = {
        key: round(results["ours"][key] / results["floor"][key], 2)
        for key in ("total_s", "spread_s", "p50_s", "p99_s", "cpu_us_a_push", "kb_a_stream", "opened_s")
    }
    return {"benchmark": "fanout", "streams": streams, "rounds": rounds, **results, "ratio": ratios, "machine": facts()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(run(given.streams, given.rounds)), indent=2))
