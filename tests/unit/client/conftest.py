"""The client against the admin API over fake services, on a real Unix socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from sds.client import Client, UnixSocket
from tests.fakes.admin_server import Running, admin_server


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The server is a thread of this process: its log would be in what a test captures."""
    with capture_logs():
        yield


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with admin_server(tmp_path_factory.mktemp("client") / "admin.sock") as server:
        yield server


@pytest.fixture
def running(_served: Running) -> Running:
    _served.reset()
    return _served


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(UnixSocket(running.socket)) as made:
        yield made
