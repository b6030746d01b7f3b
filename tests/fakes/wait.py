"""Waiting for what happens beside a test, however slow the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds. What comes at all comes much sooner; only a test that fails waits for so long."""


async def until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Returns once `condition()` is true. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)
