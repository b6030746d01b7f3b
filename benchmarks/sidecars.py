"""The load: many simulated sidecars in one process, each with its own connection and one stream a name.

Driven by lines on standard input: `expect` arms a round (every stream is to receive one new version), `quit` ends.
Prints JSON lines: `{"ready": streams}` once every stream has its first secret, then for each round
`{"received": [monotonic seconds, sorted]}`; `{"failed": reason, "count": n}` if a stream or connection ends early.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter

import uvloop

from benchmarks.h2light import Sidecar

CONNECT_AT_ONCE = 64


class Load:
    def __init__(self, names: tuple[bytes, ...], connections: int) -> None:
        self.names = names
        self.streams = connections * len(names)
        self.received: list[float] = []
        self.failures: Counter[str] = Counter()
        self.changed = asyncio.Event()

    def on_received(self, _name: bytes, _version: bytes) -> None:
        self.received.append(time.monotonic())
        if len(self.received) >= self.streams:
            self.changed.set()

    def on_failed(self, reason: str) -> None:
        self.failures[reason] += 1
        self.changed.set()

    async def round(self, timeout: float) -> list[float]:
        """Wait until every stream has received one secret, then start to count anew. Raises RuntimeError."""
        async with asyncio.timeout(timeout):
            while len(self.received) < self.streams:
                if self.failures:
                    raise RuntimeError(json.dumps({"failed": dict(self.failures), "received": len(self.received)}))
                self.changed.clear()
                await self.changed.wait()
        times, self.received = self.received, []
        self.changed.clear()
        return times


async def run(socket: str, connections: int, names: tuple[bytes, ...], timeout: float) -> None:
    load = Load(names, connections)
    loop = asyncio.get_running_loop()
    sidecars: list[Sidecar] = []
    gate = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def connect() -> None:
        async with gate:
            while True:
                try:
                    _, sidecar = await loop.create_unix_connection(
                        lambda: Sidecar(names, load.on_received, load.on_failed), socket
                    )
                except BlockingIOError:  # the queue of the listening socket is full (connect(2), EAGAIN)
                    await asyncio.sleep(0.01)
                else:
                    sidecars.append(sidecar)
                    return

    await asyncio.gather(*(connect() for _ in range(connections)))
    await load.round(timeout)
    print(json.dumps({"ready": load.streams}), flush=True)
    while (line := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) == "expect":
        print(json.dumps({"armed": True}), flush=True)
        print(json.dumps({"received": sorted(await load.round(timeout))}), flush=True)
    if line not in ("", "quit"):
        raise SystemExit(f"unknown command {line!r}")
    for sidecar in sidecars:
        sidecar.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--names", default="default,ROOTCA")
    parser.add_argument("--timeout", type=float, default=120.0)
    arguments = parser.parse_args()
    uvloop.run(
        run(
            arguments.socket,
            arguments.connections,
            tuple(name.encode() for name in arguments.names.split(",")),
            arguments.timeout,
        )
    )
