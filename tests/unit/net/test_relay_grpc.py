"""The identity that a grpc.aio handler gets: `context.peer()` names the connection, and nothing else can."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from sds.clock import SystemClock
from sds.net.admission import LocalAdmission
from sds.net.listen import listen_unix
from sds.net.process import LocalProcess, ProcessTable
from sds.net.relay import Relay
from tests.unit.net.relay_kit import Seen


@asynccontextmanager
async def who_server(folder: Path) -> AsyncIterator[tuple[Relay[LocalProcess], Seen]]:
    """Answers every call with the caller's PID, or refuses."""
    relay: Relay[LocalProcess]

    async def who(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        connection = relay.lookup(context.peer())
        if connection is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, context.peer())
        assert connection is not None
        return str(connection.peer.identity.pid).encode()

    async def forever(_request: bytes, context: grpc.aio.ServicerContext) -> None:
        await context.write(b"open")
        await asyncio.Event().wait()

    server = grpc.aio.server()
    handlers = {
        "Who": grpc.unary_unary_rpc_method_handler(who),
        "Forever": grpc.unary_stream_rpc_method_handler(forever),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    server.add_insecure_port(f"unix:{folder}/backend")
    listener = listen_unix(folder / "public", mode=0o666)
    seen = Seen()
    relay = Relay(
        listener.socket,
        folder / "backend",
        peers=ProcessTable(asyncio.get_running_loop()),
        admission=LocalAdmission(total=100, per_uid=100, clock=SystemClock(), descriptors=100_000),
        observer=seen,
        clock=SystemClock(),
    )
    await server.start()
    relay.start()
    try:
        yield relay, seen
    finally:
        relay.stop_accepting()
        await server.stop(None)
        relay.close()
        listener.unlink()


ASK = """
import grpc, sys
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(channel.unary_unary("/t.T/Who")(b"").decode(), flush=True)
"""


async def test_each_process_is_itself(folder: Path) -> None:
    async with who_server(folder):
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", ASK, str(folder / "public"), stdout=subprocess.PIPE
            )
            for _ in range(3)
        ]
        for child in children:
            output, _ = await child.communicate()
            assert output.decode().strip() == str(child.pid)
        async with grpc.aio.insecure_channel(f"unix:{folder}/public") as channel:
            assert await channel.unary_unary("/t.T/Who")(b"") == str(os.getpid()).encode()


async def test_the_backend_itself_tells_nobody_who_he_is(folder: Path) -> None:
    async with who_server(folder), grpc.aio.insecure_channel(f"unix:{folder}/backend") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/t.T/Who")(b"")
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_forged_name_names_nobody(folder: Path) -> None:
    """A caller that gives its own end a lookalike name, on its way to the public socket, is still only itself."""
    async with who_server(folder) as (relay, _), grpc.aio.insecure_channel(f"unix:{folder}/public") as channel:
        assert await channel.unary_unary("/t.T/Who")(b"") == str(os.getpid()).encode()
        (victim,) = relay
        through = socket.socket(socket.AF_UNIX)
        through.setblocking(False)
        with pytest.raises(OSError, match="Address already in use"):
            through.bind(f"\0{victim.name}")
        through.bind(f"\0{victim.name}x")
        await asyncio.get_running_loop().sock_connect(through, str(folder / "public"))
        async with asyncio.timeout(10):
            while len(relay) < 2:
                await asyncio.sleep(0.005)
        names = {connection.name for connection in relay}
        assert len(names) == 2
        assert f"{victim.name}x" not in names
        through.close()


async def test_cutting_the_connection_ends_the_call(folder: Path) -> None:
    async with who_server(folder) as (relay, _), grpc.aio.insecure_channel(f"unix:{folder}/public") as channel:
        call = channel.unary_stream("/t.T/Forever")(b"")
        assert await call.read() == b"open"
        assert relay.close_where(lambda _: True, "banned") == 1
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await asyncio.wait_for(call.read(), 10)
        assert cut.value.code() == grpc.StatusCode.UNAVAILABLE


HOLD = """
import grpc, os, sys
channel = grpc.insecure_channel("unix:" + sys.argv[1])
call = channel.unary_stream("/t.T/Forever")(b"")
next(call)
print("open", flush=True)
sys.stdin.read()
"""


async def test_a_killed_process_is_gone_at_once(folder: Path) -> None:
    async with who_server(folder) as (relay, seen):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLD, str(folder / "public"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"open\n"
        assert len(relay) == 1
        child.kill()
        await seen.until(lambda: len(relay) == 0)
        await child.wait()
        child._transport.close()  # type: ignore[attr-defined]
