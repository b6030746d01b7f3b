"""Whether the upstream can certify: said aloud when that changes, and to whoever asks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from sds.logs import get_logger


class UpstreamObserver(Protocol):
    """Is told how the upstream is; `name` is one of ca.catalog.UPSTREAMS."""

    def upstream_up(self, name: str, up: bool) -> None: ...

    def upstream_expires(self, name: str, not_after: datetime) -> None: ...


class UpstreamWatch:
    """Remembers only what it has said. What is issued meanwhile goes on; only a new authority waits."""

    def __init__(self, name: str, observer: UpstreamObserver) -> None:
        self.name = name
        self._observer = observer
        self._problem: str | None = "it has not been reached yet"
        self._told = False
        self._first = asyncio.Event()
        self._log = get_logger(__name__)

    @property
    def problem(self) -> str | None:
        """Why no authority could be certified now, safe to show; None when all is well."""
        return self._problem

    async def readiness(self) -> str | None:
        """As an sds.http.ops.Check."""
        return self._problem

    def lasts_until(self, not_after: datetime) -> None:
        """Nothing that is certified now outlives this."""
        self._observer.upstream_expires(self.name, not_after)

    async def first_outcome(self, seconds: float) -> None:
        """Wait until it is known whether the upstream can be used, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._first.wait()

    def well(self) -> None:
        self._first.set()
        self._observer.upstream_up(self.name, up=True)
        if self._told:
            self._log.info("the upstream authority can be used again", upstream=self.name)
        self._problem, self._told = None, False

    def failed(self, problem: str) -> None:
        self._first.set()
        self._observer.upstream_up(self.name, up=False)
        if not self._told or problem != self._problem:
            self._log.error(
                "the upstream authority cannot be used; what is issued goes on, and this is tried again",
                upstream=self.name,
                reason=problem,
            )
        self._problem, self._told = problem, True
