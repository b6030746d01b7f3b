"""What a bundle takes back, read once for all who ask: its CRLs are parsed off the loop, and each only once."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from ca.bundle import TrustBundle
from sds.agent.distrust import Doubts, read
from sds.logs import Logger


class BundleReader:
    """Keeps what it read last."""

    def __init__(self, executor: Executor, log: Logger) -> None:
        self._executor = executor
        self._log = log
        self._last: Doubts | None = None
        self._one_at_a_time = asyncio.Lock()

    async def doubts(self, bundle: TrustBundle) -> Doubts:
        """The same object for an equal bundle."""
        async with self._one_at_a_time:
            last = self._last
            if last is not None and (last.bundle is bundle or last.bundle == bundle):
                return last
            loop = asyncio.get_running_loop()
            self._last = found = await loop.run_in_executor(self._executor, read, bundle, last)
            for problem in found.problems:
                self._log.error("a CRL of the trust bundle cannot be used", reason=problem)
            return found
