from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from tests.contract.agent.test_agent import ME, World
from tests.fakes.node_server import FakeNodeServer


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def world(server: FakeNodeServer, folder: Path) -> World:
    await server.put("e1", "/web", ME)
    return World(server, folder)


@pytest.fixture
async def channel(world: World) -> AsyncIterator[grpc.aio.Channel]:
    """Of a sidecar to the agent's public socket."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{world.socket}", options=options) as made:
        yield made
