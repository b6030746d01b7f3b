from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sds.server.events import Events
from sds.store.schema import migrate
from sds.store.store import Store, open_store
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def events() -> Events:
    return Events("test-host")


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """A real SQLite database."""
    folder = tmp_path / "db"
    folder.mkdir(mode=0o700)
    url = f"sqlite:///{folder}/sds.sqlite3"
    migrate(url)
    opened = open_store(url, clock=clock)
    yield opened
    await opened.close()
