"""A relay with a backend of plain sockets, for tests that watch every byte and every descriptor."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sds.clock import SystemClock
from sds.net.admission import LocalAdmission
from sds.net.limits import TokenBuckets
from sds.net.listen import UnixListener, listen_unix
from sds.net.process import LocalProcess, ProcessTable
from sds.net.relay import Relay, RelayOptions
from tests.fakes.wait import PATIENCE


def on_each_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on the standard loop and on uvloop, which the agent uses."""
    signature = inspect.signature(test)

    def run(*args: Any, runner: Callable[[Coroutine[Any, Any, None]], None], **kwargs: Any) -> None:
        runner(test(*args, **kwargs))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    extra = inspect.Parameter("runner", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), extra])  # type: ignore[attr-defined]
    marked: Callable[..., None] = pytest.mark.parametrize(
        "runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"]
    )(run)
    return marked


@dataclass
class Seen:
    """Implements RelayObserver by keeping everything; `changed` is set with every event."""

    opened_count: int = 0
    refusals: list[str] = field(default_factory=list)
    closings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, peer: LocalProcess) -> None:
        self.opened_count += 1
        self.changed.set()

    def refused(self, peer: LocalProcess | None, reason: str) -> None:
        self.refusals.append(reason)
        self.changed.set()

    def closed(self, peer: LocalProcess, reason: str) -> None:
        self.closings.append(reason)
        self.changed.set()

    def accept_failed(self, problem: str) -> None:
        self.failures.append(problem)
        self.changed.set()

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # type: ignore[operator]
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Kit:
    relay: Relay[LocalProcess]
    seen: Seen
    public: Path
    folder: Path
    backend: socket.socket
    listener: UnixListener

    async def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(client, str(self.public))
        except BaseException:
            client.close()
            raise
        return client

    async def pair(self) -> tuple[socket.socket, socket.socket, str]:
        """A client, the backend's end of its connection, and the name that the backend sees."""
        client = await self.connect()
        async with asyncio.timeout(PATIENCE):
            accepted, name = await asyncio.get_running_loop().sock_accept(self.backend)
        assert name[:1] == b"\0", "an abstract name"
        return client, accepted, f"unix-abstract:{name[1:].decode()}"


@asynccontextmanager
async def relay_kit(
    folder: Path,
    *,
    total: int = 100,
    per_uid: int = 100,
    buckets: TokenBuckets | None = None,
    linger: float = 10.0,
    listening: bool = True,
) -> AsyncIterator[Kit]:
    backend = socket.socket(socket.AF_UNIX)
    backend.setblocking(False)
    backend.bind(str(folder / "backend"))
    if listening:
        backend.listen(4096)
    listener = listen_unix(folder / "public", mode=0o666)
    seen = Seen()
    relay = Relay(
        listener.socket,
        folder / "backend",
        peers=ProcessTable(asyncio.get_running_loop()),
        admission=LocalAdmission(
            total=total, per_uid=per_uid, clock=SystemClock(), descriptors=100_000, buckets=buckets
        ),
        observer=seen,
        clock=SystemClock(),
        options=RelayOptions(linger_seconds=linger),
    )
    relay.start()
    try:
        yield Kit(relay, seen, folder / "public", folder, backend, listener)
    finally:
        relay.close()
        listener.unlink()
        backend.close()


async def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes, or what came before the end."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        while len(data) < count:
            piece = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
            if not piece:
                break
            data += piece
    return data


async def receive_peek(sock: socket.socket) -> bytes:
    """What has arrived, left unread."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sock.fileno(), readable.set)
    async with asyncio.timeout(PATIENCE):
        await readable.wait()
    loop.remove_reader(sock.fileno())
    return sock.recv(65536, socket.MSG_PEEK)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
