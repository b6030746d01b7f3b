"""A server, an agent and Envoys for one test, started by the promised commands, ended whatever happens."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sds.demo.envoy import Envoy, find_envoy, own_binary
from sds.demo.envoy_config import Back, Config, Front, SdsProtocol, SdsSource, back, front
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.stack import Stack, call
from sds.demo.traffic import Tally, Traffic
from tests.e2e.harness.cli import Ran, sds

PYTHON = str(Path(sys.executable).resolve())
"""What the kernel says this test process runs."""


@dataclass(slots=True)
class Pair:
    """Two Envoys: plain HTTP at `url`, mTLS between them."""

    front: Envoy
    back: Envoy
    url: str
    back_port: int


@dataclass(slots=True)
class World:
    """Everything of one test. Paths are short, since Unix sockets' paths must be."""

    folder: Path
    stack: Stack
    envoys: list[Envoy] = field(default_factory=list)

    async def start(self) -> None:
        """Server and agent."""
        await self.stack.start_server()
        await self.stack.start_agent()

    def id(self, path: str) -> str:
        return self.stack.id(path)

    def binary(self, name: str) -> Path:
        """An Envoy executable of its own for the identity `name`."""
        path = self.folder / "bin" / name
        return path if path.exists() else own_binary(find_envoy(), path)

    async def cli(self, *args: str) -> Ran:
        """`sds ARGS --admin-socket S --output json`."""
        return (await sds(*args, "--admin-socket", str(self.stack.admin_socket), "--output", "json")).ok()

    async def entry(self, path: str, *more: str, selectors: Sequence[str] = ()) -> dict[str, Any]:
        """`sds entry create` for this agent; without selectors: for the executable `binary(path)`."""
        chosen = selectors or (f"unix:uid:{os.geteuid()}", f"unix:path:{self.binary(path)}")
        flags = [part for selector in chosen for part in ("--selector", selector)]
        ran = await self.cli(
            *("entry", "create", "--spiffe-id", self.id(path), "--parent-id", self.stack.agent_id), *flags, *more
        )
        created: dict[str, Any] = ran.json
        return created

    async def own_entry(self, path: str = "test", *more: str) -> dict[str, Any]:
        """An entry for the test process itself."""
        return await self.entry(path, *more, selectors=[f"unix:uid:{os.geteuid()}", f"unix:path:{PYTHON}"])

    def source(self, protocol: SdsProtocol = SdsProtocol.SOTW, **more: Any) -> SdsSource:
        return SdsSource(str(self.stack.sds_socket), protocol, **more)

    async def envoy(self, name: str, config: Config, *, identity: str = "", ready: bool = True) -> Envoy:
        """Run the executable of `identity` (as a rule that is `name`) with `config`."""
        started = await Envoy.start(self.binary(identity or name), config, self.folder, name)
        self.envoys.append(started)
        if ready:
            await started.ready()
        return started

    def front_config(
        self,
        name: str,
        port: int,
        upstream: int,
        servers: Sequence[str],
        source: SdsSource,
        others: Mapping[str, str] | None = None,
    ) -> Config:
        admin, ids = str(self.folder / f"{name}.sock"), [self.id(server) for server in servers]
        return front(Front(name, admin, port, upstream, ids, source, dict(others or {})))

    def back_config(self, name: str, port: int, clients: Sequence[str], source: SdsSource) -> Config:
        return back(Back(name, str(self.folder / f"{name}.sock"), port, [self.id(c) for c in clients], source))

    async def pair(self, protocol: SdsProtocol = SdsProtocol.SOTW, **source: Any) -> Pair:
        """The identities `front` and `back`, whose entries must exist, as two Envoys that are up."""
        port, back_port = free_ports(2)
        chosen = self.source(protocol, **source)
        behind = await self.envoy("back", self.back_config("back", back_port, ["front"], chosen))
        before = await self.envoy("front", self.front_config("front", port, back_port, ["back"], chosen))
        return Pair(before, behind, f"http://{LOOPBACK}:{port}/", back_port)

    async def agent_call(self, path: str) -> httpx.Response:
        """GET on the agent's own admin API."""
        return await call(self.stack.agent_admin_socket, "GET", path)

    async def rotate(self, entry: dict[str, Any], number: int) -> None:
        """Have new certificates issued now: a change of DNS names is one of what the certificate says."""
        await self.stack.call("PUT", f"/v1/entries/{entry['id']}", _spec(entry) | {"dns_names": [f"r{number}.test"]})

    def logs(self) -> list[tuple[str, str]]:
        """The end of every process's log, for the report of a failed test."""
        children = [self.stack.server, self.stack.agent, *(envoy.child for envoy in self.envoys)]
        return [(f"log of {c.name} (pid {c.pid})", c.tail(40)) for c in children if c is not None]

    async def stop(self) -> None:
        for envoy in self.envoys:
            await envoy.stop()
        await self.stack.stop()


def _spec(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What of an entry can be set."""
    fixed = {"id", "revision", "created_at", "updated_at"}
    return {key: value for key, value in entry.items() if key not in fixed}


@asynccontextmanager
async def world(**stack: Any) -> AsyncIterator[World]:
    """A world whose processes are not started yet."""
    folder = Path(tempfile.mkdtemp(prefix="sds-", dir="/tmp"))
    made = World(folder, Stack(folder, **stack))
    try:
        yield made
    finally:
        await made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def traffic(url: str, *, http2: bool = False, rate: float = 60.0) -> AsyncIterator[Tally]:
    """Steady requests while the block runs."""
    tally = Tally()
    task = asyncio.create_task(Traffic(url, tally, rate=rate, workers=3, http2=http2).run())
    try:
        yield tally
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
