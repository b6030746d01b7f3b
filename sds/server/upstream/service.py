"""The upstream that the configuration names, running beside the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ca.errors import AuthorityUnavailable
from ca.upstream import UpstreamAuthority
from sds.clock import Clock
from sds.http.ops import Check
from sds.logs import get_logger
from sds.server.upstream.watch import UpstreamWatch

_RETRY = 0.1  # seconds
_LONGEST_RETRY = 2.0
_FIRST_CONTACT = 3.0


@dataclass(frozen=True, slots=True)
class RunningUpstream:
    """`task` keeps it true and never ends by itself; None where there is nothing to keep. `watch` as well.

    `remote`: it may come up later than this server, so that a first start waits for it.
    """

    authority: UpstreamAuthority
    watch: UpstreamWatch | None
    task: asyncio.Task[None] | None
    release: Callable[[], None]
    """Blocks."""
    remote: bool = False

    @property
    def checks(self) -> dict[str, Check]:
        """For sds.http.ops: what stops new authorities alone."""
        return {} if self.watch is None else {"upstream": self.watch.readiness}

    async def close(self) -> None:
        """Once."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.to_thread(self.release)

    async def wait_for(self, work: Callable[[], Awaitable[None]], clock: Clock) -> None:
        """Do `work` at start, again and again while it fails for want of the upstream.

        Raises what `work` raises when the upstream is well, or is none that comes up by itself.
        """
        log = get_logger(__name__)
        pause, told = _RETRY, ""
        if self.watch is not None:
            await self.watch.first_outcome(_FIRST_CONTACT)
        while True:
            try:
                return await work()
            except AuthorityUnavailable as error:
                if not self.remote or self.watch is None or self.watch.problem is None:
                    raise
                if str(error) != told:
                    told = str(error)
                    log.warning("there is no authority yet, and the upstream has to certify one", reason=told)
            await asyncio.sleep(pause * (0.5 + clock.jitter()))
            pause = min(2 * pause, _LONGEST_RETRY)
