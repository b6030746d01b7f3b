from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from attestation.attestor import Process
from ca.masked import Masked
from sds.agent.errors import DataFolderUnusable
from sds.agent.memory import MAX_NAMES, Subscriptions
from sds.logs import get_logger

ENVOY = Process(10, 1000, 1000, 500)
MOSN = Process(11, 1000, 1000, 600)


class FakeFolder:
    """Keeps files in memory; `full` makes writing fail."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False
        self.writes = 0
        self.written = asyncio.Event()

    def read(self, name: str) -> Masked[bytes] | None:
        content = self.files.get(name)
        return None if content is None else Masked(content)

    def write(self, name: str, content: Masked[bytes]) -> None:
        if self.full:
            raise DataFolderUnusable("No space left on device")
        self.writes += 1
        self.files[name] = content.reveal()


LIVING = {10: 500, 11: 600}


def make(
    folder: FakeFolder, living: dict[int, int] | None = None, boot_id: str = "boot", most: int = 100
) -> Subscriptions:
    return Subscriptions(
        folder,
        boot_id=boot_id,
        start_time_of=(LIVING if living is None else living).get,
        max_processes=most,
        log=get_logger("test"),
        debounce=timedelta(milliseconds=20),
    )


async def restarted(folder: FakeFolder, **changes: object) -> Subscriptions:
    again = make(folder, **changes)  # type: ignore[arg-type]
    again.load()
    return again


async def test_names_outlive_the_agent() -> None:
    folder = FakeFolder()
    first = make(folder)
    first.remember(MOSN, ["default", "ROOTCA"])
    await first.save()
    again = await restarted(folder)
    assert again.recall(MOSN) == ("default", "ROOTCA")
    assert again.recall(ENVOY) == ()


async def test_several_streams_of_a_process_add_up() -> None:
    names = make(FakeFolder())
    names.remember(ENVOY, ["default"])
    names.remember(ENVOY, ["ROOTCA", "default"])
    assert names.recall(ENVOY) == ("default", "ROOTCA")


@pytest.mark.parametrize("living", [{}, {10: 500, 11: 601}], ids=["ended", "PID reused"])
async def test_a_process_that_is_not_the_same_gets_nothing(living: dict[int, int]) -> None:
    folder = FakeFolder()
    first = make(folder)
    first.remember(MOSN, ["default"])
    await first.save()
    again = await restarted(folder, living=living)
    assert again.recall(MOSN) == ()
    assert len(again) == 0


async def test_after_a_reboot_all_is_forgotten() -> None:
    """The same PID and start time mean another process then."""
    folder = FakeFolder()
    first = make(folder)
    first.remember(MOSN, ["default"])
    await first.save()
    assert (await restarted(folder, boot_id="another boot")).recall(MOSN) == ()


async def test_the_dead_are_pruned_when_it_is_written() -> None:
    folder, living = FakeFolder(), dict(LIVING)
    names = make(folder, living)
    names.remember(ENVOY, ["default"])
    names.remember(MOSN, ["default"])
    del living[10]
    await names.save()
    assert names.recall(ENVOY) == ()
    assert len(names) == 1
    assert len(json.loads(folder.files["subscriptions.json"])["processes"]) == 1


async def test_no_value_and_nothing_but_names_is_written() -> None:
    folder = FakeFolder()
    names = make(folder)
    names.remember(MOSN, ["default"])
    await names.save()
    assert json.loads(folder.files["subscriptions.json"]) == {
        "format": 1,
        "boot_id": "boot",
        "processes": [{"pid": 11, "start_time": 600, "names": ["default"]}],
    }


async def test_many_changes_are_one_write_and_no_change_is_none() -> None:
    folder = FakeFolder()
    names = make(folder)
    writing = asyncio.create_task(names.run())
    for number in range(50):
        names.remember(MOSN, [f"name-{number}"])
    async with asyncio.timeout(5):
        while not folder.writes:
            await asyncio.sleep(0.005)
    names.remember(MOSN, ["name-1"])
    await asyncio.sleep(0.06)
    assert folder.writes == 1
    writing.cancel()


async def test_a_full_disk_is_told_and_tried_again() -> None:
    folder = FakeFolder()
    folder.full = True
    names = make(folder)
    names.remember(MOSN, ["default"])
    with capture_logs() as lines:
        await names.save()
    assert lines[0]["reason"] == "No space left on device"
    assert names.recall(MOSN) == ("default",)
    folder.full = False
    await names.save()
    assert (await restarted(folder)).recall(MOSN) == ("default",)


async def test_it_is_bounded() -> None:
    names = make(FakeFolder(), most=3)
    for pid in range(100, 110):
        names.remember(Process(pid, 0, 0, 1), ["default"])
    assert len(names) == 3
    assert names.recall(Process(109, 0, 0, 1)) == ("default",)
    names.remember(MOSN, [f"n{number}" for number in range(3 * MAX_NAMES)])
    assert len(names.recall(MOSN)) == MAX_NAMES
    names.remember(ENVOY, ["x" * 100_000])
    assert names.recall(ENVOY) == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "boot_id": "boot", "processes": [{"pid": 11}]}',
        b'{"format": 1, "boot_id": "boot", "processes": [{"pid": "x", "start_time": 1, "names": []}]}',
        b'{"format": 1, "boot_id": "boot", "processes": [{"pid": 11, "start_time": 600, "names": [7]}]}',
        b'{"format": 1, "boot_id": "boot", "processes": 7}',
    ],
)
async def test_a_damaged_file_is_told_of_and_left_behind(content: bytes) -> None:
    folder = FakeFolder()
    folder.files["subscriptions.json"] = content
    with capture_logs() as lines:
        names = await restarted(folder)
    assert len(names) == 0
    assert lines[0]["event"] == "the remembered subscriptions cannot be read and are forgotten"
    names.remember(MOSN, ["default"])
    await names.save()
    assert (await restarted(folder)).recall(MOSN) == ("default",)
