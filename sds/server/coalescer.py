"""Group commit: many small submissions become few large pieces of work, so that one transaction serves them all.

There is no timer. While the workers are busy submissions pile up, and the next free worker takes the pile; an idle
server therefore adds no delay and a busy one makes large batches by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Overloaded(Exception):
    """Too much is waiting already, or the coalescer is closed; nothing was done."""


@dataclass(slots=True, eq=False)
class _Submission(Generic[J, R]):
    jobs: Sequence[J]
    done: asyncio.Future[Sequence[R]]


class Coalescer(Generic[J, R]):
    """`work` takes a batch and returns one result a job, in order; what it raises is raised to all of the batch.

    A submission is never split, so a batch is at most `max_batch` jobs or one submission, whichever is larger.
    """

    def __init__(
        self,
        work: Callable[[Sequence[J]], Awaitable[Sequence[R]]],
        *,
        max_batch: int,
        max_waiting: int,
        workers: int = 2,
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._limit = workers
        self._waiting: deque[_Submission[J, R]] = deque()
        self._waiting_jobs = 0
        self._workers = 0
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Jobs that no worker has taken yet."""
        return self._waiting_jobs

    async def submit(self, jobs: Sequence[J]) -> Sequence[R]:
        """One result for each job, in order. Raises Overloaded, or whatever `work` raised for the batch.

        Cancelling the caller withdraws jobs that no worker has taken; taken ones run to their end.
        """
        if not jobs:
            return ()
        if self._closed or self._waiting_jobs + len(jobs) > self._max_waiting:
            raise Overloaded("too many requests are waiting; try again later")
        done: asyncio.Future[Sequence[R]] = asyncio.get_running_loop().create_future()
        submission = _Submission(jobs, done)
        self._waiting.append(submission)
        self._waiting_jobs += len(jobs)
        if self._workers < self._limit:
            self._workers += 1
            worker = asyncio.create_task(self._run(), name="coalescer")
            self._running.add(worker)
            worker.add_done_callback(self._running.discard)
        try:
            return await done
        except asyncio.CancelledError:
            self._withdraw(submission)
            raise

    def _withdraw(self, submission: _Submission[J, R]) -> None:
        """Make room at once: who asks and goes away again and again must not keep others out."""
        try:
            self._waiting.remove(submission)
        except ValueError:  # a worker has taken it
            return
        self._waiting_jobs -= len(submission.jobs)

    async def close(self) -> None:
        """Refuse new submissions and wait until everything that waits has been worked off."""
        self._closed = True
        while self._running:
            await asyncio.gather(*self._running)
            # Since Python 3.12 gathering what is already done does not yield, and the callbacks need a turn to discard.
            await asyncio.sleep(0)

    async def _run(self) -> None:
        try:
            # One turn of the loop, so that calls which arrived together share the first batch.
            await asyncio.sleep(0)
            while batch := self._take():
                await self._serve(batch)
        finally:
            # In the same step as the last look at the pile: who submits after it finds a place for a new worker.
            self._workers -= 1

    def _take(self) -> list[_Submission[J, R]]:
        batch: list[_Submission[J, R]] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].jobs) <= self._max_batch):
            submission = self._waiting.popleft()
            self._waiting_jobs -= len(submission.jobs)
            if not submission.done.done():  # the caller went away meanwhile
                batch.append(submission)
                size += len(submission.jobs)
        return batch

    async def _serve(self, batch: list[_Submission[J, R]]) -> None:
        jobs = [job for submission in batch for job in submission.jobs]
        try:
            results = await self._work(jobs)
        except Exception as error:  # noqa: BLE001 - every waiting caller gets it; nothing is swallowed
            for submission in batch:
                if not submission.done.done():
                    submission.done.set_exception(error)
            return
        start = 0
        for submission in batch:
            end = start + len(submission.jobs)
            if not submission.done.done():
                submission.done.set_result(results[start:end])
            start = end
