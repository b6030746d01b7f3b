"""What agents ask for in batches waits here: bounded in all, and for each agent, so that none keeps the others out."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from attestation.spiffe_id import SpiffeId
from sds.net.limits import Caps
from sds.server.authorized import OVERLOADED, TOO_MANY_OF_ONE, NotSigned
from sds.server.coalescer import Coalescer, Overloaded

J = TypeVar("J")
A = TypeVar("A")


class FairQueue(Generic[J, A]):
    """A Coalescer of which no agent takes more than `max_of_one_agent` jobs."""

    def __init__(
        self,
        work: Callable[[Sequence[J]], Awaitable[Sequence[A]]],
        *,
        max_batch: int,
        max_waiting: int,
        max_of_one_agent: int,
        workers: int = 2,
    ) -> None:
        self._queue: Coalescer[J, A] = Coalescer(work, max_batch=max_batch, max_waiting=max_waiting, workers=workers)
        # The queue has the limit for all together; what the workers have taken still counts for its agent.
        self._shares = Caps(sys.maxsize, max_of_one_agent)

    async def submit(self, agent_id: SpiffeId, jobs: Sequence[J]) -> Sequence[A | NotSigned]:
        """One answer for each job, in order. Raises nothing but what `work` raises, which is a bug."""
        if not jobs:
            return ()
        if self._shares.acquire(agent_id, len(jobs)) is not None:
            return [TOO_MANY_OF_ONE] * len(jobs)
        try:
            return await self._queue.submit(jobs)
        except Overloaded:
            return [OVERLOADED] * len(jobs)
        finally:
            self._shares.release(agent_id, len(jobs))

    async def close(self) -> None:
        """Finish what is under way; later calls are answered as overloaded."""
        await self._queue.close()
