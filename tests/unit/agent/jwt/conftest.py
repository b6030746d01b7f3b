"""An agent with two entries."""

from __future__ import annotations

import pytest

from tests.unit.agent.jwt.kit import Agent


@pytest.fixture
def agent() -> Agent:
    return Agent()
