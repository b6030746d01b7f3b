"""Waiting for what happens in other processes, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def eventually(probe: Callable[[], Awaitable[T]], within: float = 20.0, every: float = 0.05) -> T:
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
