from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sds.rotation.scheduler import Scheduler
from tests.fakes.wait import until

OFTEN = timedelta(milliseconds=20)


class Job:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.begun = self.ended = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> None:
        self.begun += 1
        await self.go_on.wait()
        self.ended += 1
        if self.fails:
            raise ValueError("s3cret")


async def wait_for(job: Job, begun: int) -> None:
    await until(lambda: job.begun >= begun)


async def test_jobs_are_called_again_and_again() -> None:
    scheduler, job, other = Scheduler(), Job(), Job()
    scheduler.every("job", OFTEN, job)
    scheduler.every("other", OFTEN, other)
    assert job.begun == 0
    scheduler.start()
    await wait_for(job, 3)
    await wait_for(other, 3)
    await scheduler.stop()
    before = job.begun
    await asyncio.sleep(0.1)
    assert job.begun == before


async def test_a_job_that_fails_is_tried_again_and_disturbs_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler, bad, good = Scheduler(), Job(fails=True), Job()
    scheduler.every("bad", OFTEN, bad)
    scheduler.every("good", OFTEN, good)
    scheduler.start()
    await wait_for(bad, 3)
    await wait_for(good, 3)
    await scheduler.stop()
    said = capsys.readouterr()
    assert "tick failed" in said.out + said.err


async def test_a_slow_job_never_runs_twice_at_once_and_is_finished_at_the_end() -> None:
    scheduler, slow, other = Scheduler(), Job(), Job()
    slow.go_on.clear()
    scheduler.every("slow", OFTEN, slow)
    scheduler.every("other", OFTEN, other)
    scheduler.start()
    await wait_for(slow, 1)
    await wait_for(other, other.begun + 4)
    assert slow.begun == 1
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    slow.go_on.set()
    await stopping
    assert slow.ended == slow.begun == 1


async def test_stopping_one_that_never_started_is_nothing() -> None:
    scheduler, job = Scheduler(), Job()
    scheduler.every("job", OFTEN, job)
    await scheduler.stop()
    assert job.begun == 0
