"""Ticks: calls a job every so often and knows nothing of what it does.

Jobs are level-triggered. They look at rows and expiries and do what is due, so a missed tick costs nothing, none is
stored, and several that were missed are one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from sds.logs import get_logger

_JITTER = 10
"""One part in so many of the interval is random, so that replicas do not tick together."""


class Scheduler:
    """Calls jobs on the running event loop. A job that is still running when its next tick comes skips that tick."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._log = get_logger(__name__)

    def every(self, name: str, interval: timedelta, job: Callable[[], Awaitable[None]]) -> None:
        """Call `job` each `interval` after `start`. What it raises is logged, and the next tick tries again."""

        async def tick() -> None:
            if name not in self._running:
                self._running[name] = asyncio.ensure_future(self._run(name, job))

        self._scheduler.add_job(
            tick,
            "interval",
            id=name,
            seconds=interval.total_seconds(),
            jitter=interval.total_seconds() / _JITTER,
            coalesce=True,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        self._scheduler.start()

    async def stop(self) -> None:
        """No more ticks; jobs that run are finished first."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        await asyncio.gather(*self._running.values())

    async def _run(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - a failed tick must not end the schedule
            self._log.warning("tick failed", job=name, exc_info=error)
        finally:
            del self._running[name]
