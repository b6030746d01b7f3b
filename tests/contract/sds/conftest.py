"""A real grpc.aio server on a Unix socket, and what a test needs to play both sides of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from sds.clock import SystemClock
from sds.delivery.places import Places
from sds.delivery.registry import StreamRegistry
from sds.delivery.service import DeliveryService, DeliverySettings, server_options
from sds.delivery.session import Surroundings
from sds.delivery.workload_api import WorkloadApi
from tests.fakes.delivery import FakeCaller, FakeCallers, RecordingObserver
from tests.fakes.secrets import view
from tests.fakes.tokens import FakeTokens
from tests.fakes.wait import PATIENCE

SETTINGS = DeliverySettings(silent_grace=0.1, message_bytes=64 * 1024)


@dataclass
class Running:
    target: str
    caller: FakeCaller
    callers: FakeCallers
    observer: RecordingObserver
    registry: StreamRegistry
    service: DeliveryService
    workload_api: WorkloadApi
    server: grpc.aio.Server
    tokens: FakeTokens
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channels.append(grpc.aio.insecure_channel(self.target, options))
        return self.channels[-1]

    async def stop(self) -> None:
        await self.server.stop(None)

    async def settled(self, streams: int = 0) -> None:
        """Until the server has only this many streams left."""
        async with asyncio.timeout(PATIENCE):
            while len(self.registry) != streams:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serve(path: Path, settings: DeliverySettings = SETTINGS) -> AsyncIterator[Running]:
    caller = FakeCaller(view())
    callers, observer, clock = FakeCallers(caller), RecordingObserver(), SystemClock()
    registry = StreamRegistry("run", clock)
    places = Places(settings.streams)
    service = DeliveryService(callers, observer, registry, clock, settings, places)
    tokens = FakeTokens()
    workload_api = WorkloadApi(callers, Surroundings(observer, registry, clock, settings.silent_grace), places, tokens)
    server = grpc.aio.server(options=server_options(settings))
    server.add_generic_rpc_handlers((*service.handlers(), *workload_api.handlers()))
    target = f"unix:{path}"
    server.add_insecure_port(target)
    await server.start()
    running = Running(target, caller, callers, observer, registry, service, workload_api, server, tokens)
    try:
        yield running
    finally:
        for channel in running.channels:
            await channel.close()
        await running.settled()
        await running.stop()
        leftovers = [task for task in asyncio.all_tasks() if "Session." in repr(task)]
        assert not leftovers, "a stream left a task behind"
        assert not caller.watchers, "a stream left its watch behind"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path / "sds.sock") as started:
        yield started
