"""The floor of the fan-out: a bare grpc.aio server without any logic that pushes fixed bytes to every open stream.

Run as a process of its own; reads commands as lines on standard input: `push` sends one response on every stream,
`quit` ends. Prints `ready`, then `acked N SECONDS` after each push.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

import grpc
import grpc.aio

from benchmarks.h2light import STREAM_SECRETS, TYPE_URL, _field

OPTIONS = (
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.max_concurrent_streams", 100_000),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.bdp_probe", 0),  # as ours: on a Unix socket the probes only cost
)


class Floor:
    def __init__(self, size: int) -> None:
        self._body = _field(2, _field(1, TYPE_URL) + _field(2, bytes(size))) + _field(4, TYPE_URL)
        self._wake: set[asyncio.Future[None]] = set()
        self._turn = 0
        self.acked = 0
        self.streams = 0

    def _response(self, nonce: int) -> bytes:
        return self._body + _field(1, b"%d" % self._turn) + _field(5, b"%d" % nonce)

    async def stream(self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.read()
        nonce, seen = 1, self._turn
        self.streams += 1
        await context.write(self._response(nonce))
        reader = asyncio.create_task(self._read(context))
        woken = asyncio.get_running_loop().create_future()
        try:
            while True:
                if seen == self._turn:  # else a push came while this one wrote
                    woken = asyncio.get_running_loop().create_future()
                    self._wake.add(woken)
                    await woken
                seen = self._turn
                nonce += 1
                await context.write(self._response(nonce))
        finally:
            self._wake.discard(woken)
            self.streams -= 1
            reader.cancel()

    async def _read(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while await context.read() is not grpc.aio.EOF:
            self.acked += 1

    async def push(self) -> float:
        """One response to every stream; seconds until the last ACK."""
        self._turn += 1
        wanted = self.acked + self.streams
        start = time.monotonic()
        woken, self._wake = self._wake, set()
        for future in woken:
            if not future.done():
                future.set_result(None)
        while self.acked < wanted:
            await asyncio.sleep(0.001)
        return time.monotonic() - start


async def serve(socket: str, size: int) -> None:
    floor = Floor(size)
    server = grpc.aio.server(options=OPTIONS)
    path = STREAM_SECRETS.decode()
    service, method = path[1:].rsplit("/", 1)
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(floor.stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while (line := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) not in ("", "quit"):
        if line == "push":
            seconds = await floor.push()
            print(f"acked {floor.streams} {seconds}", flush=True)
    await server.stop(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--size", type=int, default=1900, help="bytes of secret in each response")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.socket, arguments.size))
