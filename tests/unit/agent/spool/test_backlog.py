"""What waits for the server: nobody waits for the disk, and what does not fit is missing by its number."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sds._pb.sds.node.v1 import node_pb2
from sds.agent.spool import backlog as backlogs
from sds.agent.spool.backlog import SpoolBacklog, Waiting
from sds.logs import get_logger
from tests.fakes.small_disk import MountRefused, small_disk
from tests.fakes.wait import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "RETRY", 0.05)


class Observed:
    def __init__(self) -> None:
        self.events, self.size, self.failing = 0, 0, False

    def spool(self, events: int, size: int, failing: bool) -> None:
        self.events, self.size, self.failing = events, size, failing


def made(folder: Path, run: str = "aa", **changes) -> tuple[SpoolBacklog, Observed]:
    observed = Observed()
    bounds = {"queue": 100, "max_events": 1000, "max_bytes": 1 << 20, **changes}
    return SpoolBacklog(folder / "spool", run, **bounds, observer=observed, log=get_logger("test")), observed


def payload(number: int) -> bytes:
    return node_pb2.DeliveryEvent(number=number, action="secret.nacked", reason="r" * 50).SerializeToString()


def put(backlog: SpoolBacklog, first: int, last: int) -> list[int]:
    """The numbers that found no room."""
    return [number for number in range(first, last + 1) if not backlog.put(number, payload(number))]


async def drain(backlog: SpoolBacklog, given: int, limit: int = 30) -> list[Waiting]:
    found = []
    while True:
        waiting = await backlog.next(limit, given)
        found.append(waiting)
        await backlog.taken(waiting)
        if not waiting.more:
            return found


def numbers(found: list[Waiting], run: str = "aa") -> list[int]:
    return [event.number for waiting in found if waiting.run_id == run for event in waiting.events]


async def test_events_go_over_the_disk_and_are_forgotten_once_taken(tmp_path: Path) -> None:
    backlog, observed = made(tmp_path)
    running = asyncio.create_task(backlog.run())
    assert put(backlog, 1, 100) == []
    await until(lambda: observed.events == 100)
    assert list((tmp_path / "spool").glob("*.events"))
    found = await drain(backlog, 100)
    assert numbers(found) == list(range(1, 101))
    assert [waiting.through for waiting in found] == [30, 60, 90, 100]
    assert (observed.events, observed.size) == (0, 0)
    running.cancel()
    await backlog.close()
    assert list((tmp_path / "spool").iterdir()) == []


async def test_what_was_not_taken_comes_again_also_from_the_next_run(tmp_path: Path) -> None:
    backlog, _ = made(tmp_path)
    put(backlog, 1, 5)
    first = await backlog.next(10, 5)
    assert numbers([first]) == numbers([await backlog.next(10, 5)]) == [1, 2, 3, 4, 5]
    await backlog.close()
    again, _ = made(tmp_path, "bb")
    put(again, 1, 2)
    found = await drain(again, 2)
    assert numbers(found) == [1, 2, 3, 4, 5]
    assert [(waiting.run_id, waiting.through, waiting.cut) for waiting in found] == [("aa", 5, False), ("bb", 2, False)]
    assert numbers(found, "bb") == [1, 2]
    await again.close()


async def test_a_run_that_was_killed_is_told_with_its_last_number(tmp_path: Path) -> None:
    killed, _ = made(tmp_path)
    put(killed, 1, 5)
    await killed.next(10, 5)
    again, _ = made(tmp_path, "bb")
    found = await drain(again, 0)
    assert [(waiting.run_id, waiting.through, waiting.cut) for waiting in found] == [("aa", 5, True), ("bb", 0, False)]


async def test_when_it_is_full_the_newest_are_dropped_and_the_last_number_says_so(tmp_path: Path) -> None:
    backlog, observed = made(tmp_path, max_events=150)
    assert put(backlog, 1, 120) == list(range(101, 121))  # memory is bounded as well
    running = asyncio.create_task(backlog.run())
    await until(lambda: observed.events == 100)
    assert put(backlog, 121, 200) == list(range(171, 201))
    found = await drain(backlog, 200)
    assert numbers(found) == [*range(1, 101), *range(121, 171)]
    assert found[-1].through == 200
    running.cancel()


async def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "PATIENCE", 0.1)
    backlog, observed = made(tmp_path)
    hang = threading.Event()
    inner = backlog._open_disk
    backlog._open_disk = lambda: (hang.wait(), inner())[1]
    put(backlog, 1, 5)
    waiting = await backlog.next(10, 5)
    assert (numbers([waiting]), waiting.through) == ([1, 2, 3, 4, 5], 5)
    await backlog.taken(waiting)
    assert observed.failing
    hang.set()
    await until(lambda: not backlog._thread.busy)
    running = asyncio.create_task(backlog.run())
    put(backlog, 6, 9)
    await until(lambda: not backlog._failing)
    assert numbers(await drain(backlog, 9))[-4:] == [6, 7, 8, 9]
    running.cancel()
    await backlog.close()


async def test_a_folder_that_cannot_be_used_costs_the_spool_and_not_the_events(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    backlog, observed = made(tmp_path)
    put(backlog, 1, 40)
    found = await drain(backlog, 40)
    assert numbers(found) == list(range(1, 41))
    assert found[-1].through == 40
    assert observed.failing
    await backlog.close()


async def test_a_full_disk_is_gone_round_and_used_again() -> None:
    try:
        with small_disk("256k") as mounted:
            folder = mounted.folder / "data"
            folder.mkdir()
            backlog, observed = made(folder)
            running = asyncio.create_task(backlog.run())
            put(backlog, 1, 10)
            await until(lambda: observed.events == 10)
            mounted.fill()
            number = 10
            while not observed.failing:
                number += 1
                put(backlog, number, number)
                await asyncio.sleep(0.005)
            found = await drain(backlog, number)
            assert numbers(found) == list(range(1, number + 1))
            mounted.relieve()
            put(backlog, number + 1, number + 5)
            await until(lambda: not observed.failing and observed.events == 5)
            assert numbers(await drain(backlog, number + 5)) == list(range(number + 1, number + 6))
            running.cancel()
            await backlog.close()
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")
