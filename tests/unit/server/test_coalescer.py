from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sds.server.coalescer import Coalescer, Overloaded


class Work:
    """Doubles numbers; can be held up, and refuses a batch with a 1300 in it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, jobs: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(jobs))
        await self.go.wait()
        if 1300 in jobs:
            raise ValueError("1300")
        return [job * 2 for job in jobs]


def make(work: Work, *, max_batch: int = 100, max_waiting: int = 1000, workers: int = 1) -> Coalescer[int, int]:
    return Coalescer(work, max_batch=max_batch, max_waiting=max_waiting, workers=workers)


async def test_each_caller_gets_its_own_results_in_order() -> None:
    work = Work()
    coalescer = make(work)
    results = await asyncio.gather(*(coalescer.submit([n, n + 100]) for n in range(50)))
    assert [list(r) for r in results] == [[2 * n, 2 * (n + 100)] for n in range(50)]
    assert len(work.batches) == 1 or max(len(b) for b in work.batches) > 2


async def test_calls_that_arrive_together_share_a_batch() -> None:
    work = Work()
    coalescer = make(work)
    await asyncio.gather(*(coalescer.submit([n]) for n in range(10)))
    assert work.batches == [list(range(10))]


async def test_while_the_worker_is_busy_the_next_batch_grows() -> None:
    work = Work()
    work.go.clear()
    coalescer = make(work)
    first = asyncio.create_task(coalescer.submit([1]))
    await asyncio.sleep(0.01)
    rest = [asyncio.create_task(coalescer.submit([n])) for n in range(2, 8)]
    await asyncio.sleep(0.01)
    assert work.batches == [[1]]
    assert coalescer.waiting == 6
    work.go.set()
    await asyncio.gather(first, *rest)
    assert work.batches == [[1], [2, 3, 4, 5, 6, 7]]
    assert coalescer.waiting == 0


async def test_a_batch_is_bounded_but_a_submission_is_never_split() -> None:
    work = Work()
    coalescer = make(work, max_batch=4)
    await asyncio.gather(*(coalescer.submit(jobs) for jobs in ([1, 2, 3], [4, 5], list(range(20, 30)), [6])))
    assert work.batches == [[1, 2, 3], [4, 5], list(range(20, 30)), [6]]


async def test_a_failed_batch_fails_its_callers_only() -> None:
    work = Work()
    coalescer = make(work, max_batch=1)
    good, bad, after = await asyncio.gather(
        coalescer.submit([1]), coalescer.submit([1300]), coalescer.submit([2]), return_exceptions=True
    )
    assert list(good) == [2]
    assert isinstance(bad, ValueError)
    assert list(after) == [4]


async def test_too_much_is_refused_at_once_and_nothing_of_it_is_done() -> None:
    work = Work()
    work.go.clear()
    coalescer = make(work, max_waiting=5)
    running = asyncio.create_task(coalescer.submit([1]))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(coalescer.submit([2, 3, 4, 5]))
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await coalescer.submit([6, 7])
    work.go.set()
    await asyncio.gather(running, waiting)
    assert await coalescer.submit([6, 7]) == [12, 14]
    assert work.batches == [[1], [2, 3, 4, 5], [6, 7]]


async def test_a_caller_that_goes_away_withdraws_what_no_worker_has_taken() -> None:
    work = Work()
    work.go.clear()
    coalescer = make(work)
    running = asyncio.create_task(coalescer.submit([1]))
    await asyncio.sleep(0.01)
    gone = asyncio.create_task(coalescer.submit([2]))
    stays = asyncio.create_task(coalescer.submit([3]))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0.01)
    work.go.set()
    assert await running == [2]
    assert await stays == [6]
    assert work.batches == [[1], [3]]


async def test_a_caller_that_goes_away_makes_room_at_once() -> None:
    work = Work()
    work.go.clear()
    coalescer = make(work, max_waiting=5)
    running = asyncio.create_task(coalescer.submit([1]))
    await asyncio.sleep(0.01)
    for _ in range(10):
        gone = asyncio.create_task(coalescer.submit([2, 3, 4, 5]))
        await asyncio.sleep(0)
        assert coalescer.waiting == 4
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert coalescer.waiting == 0
    work.go.set()
    assert await running == [2]


async def test_a_caller_that_goes_away_does_not_disturb_a_batch_under_way() -> None:
    work = Work()
    work.go.clear()
    coalescer = make(work)
    gone = asyncio.create_task(coalescer.submit([1]))
    stays = asyncio.create_task(coalescer.submit([2]))
    await asyncio.sleep(0.01)
    gone.cancel()
    work.go.set()
    assert await stays == [4]
    assert work.batches == [[1, 2]]


async def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    work = Work()
    work.go.clear()
    coalescer = make(work, max_batch=1)
    tasks = [asyncio.create_task(coalescer.submit([n])) for n in range(3)]
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(coalescer.close())
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await coalescer.submit([9])
    work.go.set()
    await closing
    assert [list(await task) for task in tasks] == [[0], [2], [4]]


async def test_one_call_right_after_the_other() -> None:
    """The next call may come in the very turn of the loop in which the worker goes home."""
    work = Work()
    coalescer = make(work)
    async with asyncio.timeout(5):
        for number in range(200):
            assert await coalescer.submit([number]) == [2 * number]
    assert len(work.batches) == 200


async def test_an_empty_submission_is_no_work() -> None:
    work = Work()
    assert await make(work).submit([]) == ()
    assert work.batches == []
