"""The spool's folder: what is written is there after any end of the process, in order, once it is read to its end."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.agent.spool.disk import Portion, SpoolDisk, SpoolFull
from sds.agent.spool.record import MAGIC, decode, encode
from tests.fakes.small_disk import MountRefused, small_disk

EVENTS = st.lists(st.binary(max_size=200), max_size=20)


def disk(folder: Path, run: str = "aa", size: int = 1 << 20, segment: int = 4096) -> SpoolDisk:
    return SpoolDisk(folder / "spool", run, size, segment)


def events(first: int, last: int, size: int = 10) -> list[tuple[int, bytes]]:
    return [(number, str(number).encode() * size) for number in range(first, last + 1)]


def drain(spool: SpoolDisk, limit: int = 7) -> list[Portion]:
    found = []
    while (portion := spool.read(limit)) is not None:
        found.append(portion)
        spool.taken(portion)
    return found


def numbers(portions: list[Portion], run: str) -> list[int]:
    return [record.number for portion in portions if portion.run == run for record in portion.records]


@given(EVENTS, st.integers(0, 5000), st.binary(max_size=20))
def test_records_are_read_back_as_far_as_they_are_whole(payloads: list[bytes], cut: int, tail: bytes) -> None:
    whole = MAGIC + encode(enumerate(payloads, 1))
    assert [(one.number, one.payload) for one in decode(whole)] == list(enumerate(payloads, 1))
    torn = whole[: max(len(MAGIC), len(whole) - cut)]
    found = [one.payload for one in decode(torn + tail)]
    assert found == payloads[: len(found)]


@given(EVENTS.filter(bool), st.data())
def test_a_changed_byte_ends_the_segment_and_forges_no_record(payloads: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(MAGIC + encode(enumerate(payloads, 1)))
    place = data.draw(st.integers(len(MAGIC), len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    found = [(one.number, one.payload) for one in decode(bytes(whole))]
    assert found == list(enumerate(payloads, 1))[: len(found)]
    assert len(found) < len(payloads)


def test_what_is_written_is_read_in_order_and_then_gone(tmp_path: Path) -> None:
    spool = disk(tmp_path)
    for first in range(1, 1001, 10):
        spool.append(events(first, first + 9))
    assert spool.records == 1000
    folder = tmp_path / "spool"
    assert len(list(folder.glob("*.events"))) > 5
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert numbers(drain(spool), "aa") == list(range(1, 1001))
    assert not list(folder.glob("*.events"))
    assert (spool.records, spool.size) == (0, 0)
    spool.end()
    assert not list(folder.iterdir())


def test_reading_again_before_it_was_taken_gives_the_same(tmp_path: Path) -> None:
    spool = disk(tmp_path)
    spool.append(events(1, 5))
    first = spool.read(3)
    spool.append(events(6, 8))
    assert spool.read(3) == first
    spool.taken(first)
    assert numbers(drain(spool), "aa") == [4, 5, 6, 7, 8]


def test_the_next_run_tells_what_the_one_before_has_left_and_that_it_was_killed(tmp_path: Path) -> None:
    killed = disk(tmp_path, "aa")
    killed.append(events(1, 20))
    killed.taken(killed.read(5))
    ended = disk(tmp_path, "bb")
    ended.append(events(1, 3))
    ended.end()
    spool = disk(tmp_path, "cc")
    spool.append(events(1, 2))
    found = drain(spool)
    # What was taken of a segment that was not read to its end comes again; the server knows it.
    assert numbers(found, "aa") == list(range(1, 21))
    assert [(portion.run, portion.cut, portion.through) for portion in found if portion.cut] == [("aa", True, 20)]
    assert numbers(found, "bb") == [1, 2, 3]
    assert [portion.run for portion in found] == sorted(portion.run for portion in found)
    assert numbers(found, "cc") == [1, 2]
    assert drain(spool) == []


def test_a_run_that_was_killed_with_nothing_to_tell_is_told_all_the_same(tmp_path: Path) -> None:
    disk(tmp_path, "aa")
    spool = disk(tmp_path, "bb")
    assert drain(spool) == [Portion("aa", (), more=False, cut=True, through=0)]
    spool.end()
    assert drain(disk(tmp_path, "cc")) == []


@pytest.mark.parametrize("lost", [1, 5, 40])
def test_a_torn_tail_costs_no_more_than_itself(tmp_path: Path, lost: int) -> None:
    spool = disk(tmp_path, segment=1 << 20)
    spool.append(events(1, 10))
    (segment,) = (tmp_path / "spool").glob("*.events")
    os.truncate(segment, segment.stat().st_size - lost)
    found = numbers(drain(disk(tmp_path, "bb")), "aa")
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= 7


def test_a_damaged_segment_is_a_hole_and_the_ones_behind_it_are_told(tmp_path: Path) -> None:
    spool = disk(tmp_path)
    for first in range(1, 601, 100):
        spool.append(events(first, first + 99))
    first, *_ = sorted((tmp_path / "spool").glob("*.events"))
    first.write_bytes(b"nonsense" * 100)
    again = disk(tmp_path, "bb")
    found = numbers(drain(again), "aa")
    assert found
    assert found == list(range(found[0], 601))
    (tmp_path / "spool" / "README").write_text("not ours")
    assert drain(disk(tmp_path, "cc"))[-1].run == "bb"
    assert (tmp_path / "spool" / "README").exists()


def test_there_is_never_more_than_there_may_be(tmp_path: Path) -> None:
    spool = disk(tmp_path, size=10_000)
    number = 1
    with pytest.raises(SpoolFull):
        while True:
            spool.append([(number, b"x" * 500)])
            number += 1
    assert spool.size <= 10_000
    assert numbers(drain(spool), "aa") == list(range(1, number))
    spool.append([(number, b"x" * 500)])


@pytest.mark.parametrize("kind", ["link", "open"])
def test_a_folder_that_is_not_the_agents_alone_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool").chmod(0o755)
    with pytest.raises(OSError, match="agent's alone"):
        disk(tmp_path)


def test_a_full_disk_loses_nothing_that_was_written_and_takes_more_later() -> None:
    try:
        with small_disk("256k") as mounted:
            folder = mounted.folder / "data"
            folder.mkdir()
            spool = disk(folder, size=1 << 30)
            spool.append(events(1, 50))
            mounted.fill()
            with pytest.raises(OSError, match="No space left"):
                spool.append(events(51, 2000))
            mounted.relieve()
            spool.append(events(51, 60))
            assert numbers(drain(spool), "aa") == list(range(1, 61))
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")


_WRITER = """
import sys
from pathlib import Path
from sds.agent.spool.disk import SpoolDisk
spool = SpoolDisk(Path(sys.argv[1]), sys.argv[2], 1 << 24, 4096)
number = 0
while True:
    spool.append([(number + step, b"payload" * step) for step in range(1, 6)])
    number += 5
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_survives_a_kill_at_any_moment(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "spool"
    lines = random.Random(seed).randint(1, 60)
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), "aa"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            written = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
    found = drain(SpoolDisk(folder, "bb", 1 << 24), 1000)
    told = numbers(found, "aa")
    assert told == list(range(1, len(told) + 1))
    assert len(told) >= written
    assert [portion.cut for portion in found][-1]
