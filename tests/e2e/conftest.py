"""Fixtures of the end-to-end tests, and the logs of their processes when one fails."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world


@pytest.fixture
async def empty_world() -> AsyncIterator[World]:
    """Nothing runs yet."""
    async with new_world() as made:
        yield made


@pytest.fixture
async def world(empty_world: World) -> World:
    """A server and an agent that is attested."""
    await empty_world.start()
    return empty_world


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for Unix sockets below it."""
    with tempfile.TemporaryDirectory(prefix="sds-", dir="/tmp") as made:
        yield Path(made)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        made = getattr(item, "funcargs", {}).get("empty_world")
        if isinstance(made, World):
            report.sections.extend(made.logs())
    return report
