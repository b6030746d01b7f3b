from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.node.harness import Node, running


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running() as started:
        yield started
