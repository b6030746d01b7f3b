"""Files and standard output: what arrives, and what is said of one that does not take it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sds.audit.sinks.items import Signed
from sds.server.audit_sinks.blocking import Threaded
from sds.server.audit_sinks.file import FileWriter
from sds.server.audit_sinks.outlet import SinkFailed
from sds.server.audit_sinks.stdout import StdoutWriter
from tests.contract.audit_sinks.items import CLOCK, leaves, lines
from tests.fakes.small_disk import MountRefused, small_disk
from tests.fakes.wait import until


async def test_a_file_has_every_line_and_belongs_to_the_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    out = Threaded("s", FileWriter(path), 5)
    items = [*leaves(3), Signed(3, "n\n")]
    await out.deliver(items)
    assert path.read_bytes() == lines(items)
    assert path.stat().st_mode & 0o777 == 0o600
    await out.close()


async def test_a_file_that_was_renamed_or_deleted_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    out = Threaded("s", FileWriter(path), 5)
    await out.deliver(leaves(1))
    path.rename(tmp_path / "audit.jsonl.1")
    await out.deliver(leaves(1, 1))
    path.unlink()
    await out.deliver(leaves(1, 2))
    assert (tmp_path / "audit.jsonl.1").read_bytes() == lines(leaves(1))
    assert path.read_bytes() == lines(leaves(1, 2))
    await out.close()


async def test_a_line_that_a_killed_process_left_unfinished_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"event":{"act')
    out = Threaded("s", FileWriter(path), 5)
    await out.deliver(leaves(2))
    assert path.read_bytes() == b'{"event":{"act\n' + lines(leaves(2))
    await out.close()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
async def test_what_is_no_file_of_ours_is_not_written_to(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    out = Threaded("s", FileWriter(path), 5)
    with pytest.raises(SinkFailed, match=r"audit\.jsonl"):
        await out.deliver(leaves(1))
    assert not (tmp_path / "elsewhere").exists()
    await out.close()


async def test_a_full_disk_is_a_problem_and_half_a_batch_never_stays() -> None:
    try:
        with small_disk("1m") as disk:
            path = disk.folder / "audit.jsonl"
            out = Threaded("s", FileWriter(path), 5)
            await out.deliver(leaves(2))
            disk.fill()
            with pytest.raises(SinkFailed, match="No space left on device"):
                await out.deliver(leaves(300, 2, size=1000))
            assert path.read_bytes() == lines(leaves(2))
            disk.relieve()
            await out.deliver(leaves(300, 2, size=1000))
            assert path.read_bytes() == lines([*leaves(2), *leaves(300, 2, size=1000)])
            await out.close()
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")


async def test_a_pipe_that_nobody_reads_stalls_the_sink_alone_and_no_line_is_broken() -> None:
    reading, writing = os.pipe()
    out = Threaded("s", StdoutWriter(CLOCK.monotonic, writing), 0.3)
    items = leaves(200, size=1000)
    with pytest.raises(SinkFailed, match="nobody reads"):
        await out.deliver(items)
    assert os.get_blocking(writing), "others write to the same pipe, and expect it to wait for them"
    found = bytearray()

    async def read() -> None:
        while part := await asyncio.to_thread(os.read, reading, 65536):
            found.extend(part)

    reader = asyncio.create_task(read())
    await out.deliver(items)
    await out.close()
    os.close(writing)
    await reader
    os.close(reading)
    told = [json.loads(each)["leaf"] for each in bytes(found).splitlines()]
    cut = told.index(0, 1)  # where the batch begins again
    assert told[:cut] == list(range(cut))
    assert told[cut:] == list(range(200))


async def test_standard_output_may_be_a_file_or_a_socket(tmp_path: Path) -> None:
    with (tmp_path / "out").open("ab", buffering=0) as file:
        file.write(b"before\n")
        out = Threaded("s", StdoutWriter(CLOCK.monotonic, file.fileno()), 5)
        await out.deliver(leaves(2))
        await out.close()
    assert (tmp_path / "out").read_bytes() == b"before\n" + lines(leaves(2))
    ours, theirs = socket.socketpair()
    out = Threaded("s", StdoutWriter(CLOCK.monotonic, ours.fileno()), 5)
    await out.deliver(leaves(2))
    assert theirs.recv(65536) == lines(leaves(2))
    theirs.close()
    with pytest.raises(SinkFailed, match="cannot be written"):
        await out.deliver(leaves(2))
    await out.close()
    ours.close()


async def test_a_thread_that_does_not_come_back_is_not_waited_for() -> None:
    class Dead:
        def __init__(self) -> None:
            self.wait: Callable[[], None] = lambda: None

        def write(self, items, seconds: float) -> None:
            self.wait()

        def close(self) -> None:
            return

    reading, writing = os.pipe()
    writer = Dead()
    out = Threaded("s", writer, 0.1)
    await out.deliver([])
    writer.wait = lambda: os.read(reading, 1)
    with pytest.raises(SinkFailed, match="within"):
        await out.deliver([])
    with pytest.raises(SinkFailed, match="has not come back"):
        await out.deliver([])
    os.write(writing, b"x")
    writer.wait = lambda: None
    await until(lambda: not out._thread.busy)
    await out.deliver([])
    await out.close()
    os.close(reading)
    os.close(writing)
