"""Secrets by the promised commands, constant traffic that shows their values, and the proof that nobody was harmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sds.demo.envoy import Envoy
from sds.demo.ports import LOOPBACK
from tests.contract.public.pki import Pair
from tests.e2e.harness.secret_envoys import ECHO
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World


@dataclass
class Seen:
    """What requests under constant traffic came back with."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)  # each once, in the order in which they came

    def note(self, value: str) -> None:
        self.requests += 1
        if not self.values or self.values[-1] != value:
            self.values.append(value)


@asynccontextmanager
async def requests(port: int, cookies: dict[str, str] | None = None) -> AsyncIterator[Seen]:
    """One after the other while the block runs."""
    seen = Seen()

    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False, cookies=cookies) as client:
            while True:
                try:
                    answer = await client.get(f"http://{LOOPBACK}:{port}/")
                except httpx.HTTPError as error:
                    seen.failures.append(repr(error))
                else:
                    if answer.status_code == 200:
                        seen.note(answer.headers.get(ECHO, ""))
                    else:
                        seen.failures.append(f"{answer.status_code} {answer.text}")
                await asyncio.sleep(0.01)

    task = asyncio.create_task(run())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Secrets:
    """Defines, grants and writes with the promised commands; values never are arguments."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def define(self, name: str, to: str, *more: str) -> None:
        await self._world.cli("secret", "create", name, *more)
        await self._world.cli("grant", "create", name, "--to", self._world.id(to))

    async def put(self, name: str, value: str) -> None:
        await self._world.cli("secret", "put", name, "--file", str(self._file(value.encode())))

    async def put_pair(self, name: str, pair: Pair) -> None:
        chain, key = self._file(pair.certificate), self._file(pair.key)
        await self._world.cli("secret", "put", name, "--chain", str(chain), "--key", str(key))

    def _file(self, content: bytes) -> Path:
        file = self._world.folder / f"value-{len(list(self._world.folder.iterdir()))}"
        file.touch(mode=0o600)
        file.write_bytes(content)
        return file


async def until(condition: Callable[[], bool], within: float = 30.0) -> None:
    async def probe() -> bool:
        return condition()

    await eventually(probe, within)


async def unharmed(envoy: Envoy, *seen: Seen) -> None:
    for one in seen:
        assert one.requests > 0
        assert not one.failures, one.failures[:5]
    envoy.child.check()
    assert await envoy.admin.restart_epoch() == 0
    assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


def no_canary(world: World, *values: str) -> None:
    """In no log, and in the database in clear neither."""
    for file in (
        *world.folder.glob("*.log"),
        *world.folder.glob("server/*sqlite*"),
        *world.folder.glob("agent/*.json"),
    ):
        content = file.read_bytes()
        for value in values:
            assert value.encode() not in content, file
