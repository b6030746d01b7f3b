"""The API over the fake services on a real Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.fakes.admin_server import Running, admin_server


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What the server has logged. It is a thread of this process: its log would be in what a test captures."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with admin_server(tmp_path_factory.mktemp("admin") / "admin.sock") as server:
        yield server


@pytest.fixture
def running(_served: Running) -> Running:
    """The server with empty services."""
    _served.reset()
    return _served


@pytest.fixture
async def http(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(running.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://sds") as client:
        yield client
