from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.node.harness import Node, running


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="sds-n-") as made:
        yield Path(made)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running() as started:
        yield started
