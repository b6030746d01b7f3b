"""Fixtures of the end-to-end tests, and the logs of their processes when one fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        made = getattr(item, "funcargs", {}).get("empty_world")
        if isinstance(made, World):
            report.sections.extend(made.logs())
    return report
