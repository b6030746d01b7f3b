"""Waiting for what happens in other processes, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds. What comes at all comes much sooner; only a test that fails waits for so long."""


async def here(seconds: float) -> float:
    """A lifetime that leaves this machine the room that `seconds` leave one where nothing else runs. No bound is made so.

    Measured by the start of a process, a tenth of a second where nothing else runs.
    """
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import asyncio")
    assert await process.wait() == 0
    return seconds * max(1.0, (time.monotonic() - started) / 0.1)


async def eventually(probe: Callable[[], Awaitable[T]], within: float = PATIENCE, every: float = 0.05) -> T:
    """The first truthy answer of `probe`; fails the test with the last answer if there is none `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = await probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {probe!r}; the last answer was {answer!r}"
        await asyncio.sleep(every)


async def stays(probe: Callable[[], Awaitable[Any]], during: float, every: float = 0.1) -> None:
    """Fails the test if `probe` turns false within `during` seconds."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        assert await probe(), f"{probe!r} did not hold for {during} s"
        await asyncio.sleep(every)
