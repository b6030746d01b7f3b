from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attestation.attestor import Process
from sds.net.errors import PeerUnknown
from sds.net.listen import UnixListener, listen_unix
from sds.net.process import LocalProcess, ProcessTable, read_start_time

CONNECT_AND_WAIT = """
import socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]
for one in held: one.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


class Accepting:
    """A listener whose accepted sockets are closed with it."""

    def __init__(self, listener: UnixListener) -> None:
        self.listener = listener
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        sock, _ = self.listener.socket.accept()
        self.accepted.append(sock)
        return sock


@pytest.fixture
def listener(folder: Path) -> Iterator[Accepting]:
    accepting = Accepting(listen_unix(folder / "s", mode=0o666))
    yield accepting
    for sock in accepting.accepted:
        sock.close()
    accepting.listener.close()


def child(folder: Path, connections: int = 1, code: str = CONNECT_AND_WAIT) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "s"), str(connections)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"connected\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"")


async def test_a_caller_is_named_by_the_kernel(folder: Path, listener: Accepting) -> None:
    table = ProcessTable(asyncio.get_running_loop())
    process = child(folder, 2)
    first, second = listener.accept(), listener.accept()
    caller = table.acquire(first)
    assert caller.identity.pid == process.pid
    assert caller.identity.uid == os.getuid()
    assert caller.identity.start_time == read_start_time(process.pid)
    assert caller.alive()
    assert table.acquire(second) is caller, "one process, one descriptor"
    pidfd = caller.pidfd
    table.release(caller)
    os.fstat(pidfd)
    table.release(caller)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pidfd)
    assert len(table) == 0
    end(process)


async def test_the_end_of_a_process_is_told_once(folder: Path, listener: Accepting) -> None:
    table = ProcessTable(asyncio.get_running_loop())
    process = child(folder)
    caller = table.acquire(listener.accept())
    gone = asyncio.Event()
    told: list[str] = []
    table.watch(caller, gone.set)
    table.watch(caller, lambda: told.append("other"))
    unwanted = [].append
    table.watch(caller, unwanted)
    table.unwatch(caller, unwanted)
    process.kill()
    await asyncio.wait_for(gone.wait(), 10)
    assert told == ["other"]
    assert not caller.alive()
    assert len(table) == 0, "a new process with this PID must not find the old one"
    table.release(caller)
    end(process)


async def test_a_caller_that_died_in_the_queue_is_refused(folder: Path, listener: Accepting) -> None:
    table = ProcessTable(asyncio.get_running_loop())
    process = child(folder)
    end(process)
    with pytest.raises(PeerUnknown, match="gone"):
        table.acquire(listener.accept())


async def test_a_caller_that_died_and_was_not_reaped_is_refused(folder: Path, listener: Accepting) -> None:
    table = ProcessTable(asyncio.get_running_loop())
    process = child(folder)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(PeerUnknown, match="gone"):
        table.acquire(listener.accept())
    end(process)


async def test_a_reused_pid_is_another_process(folder: Path, listener: Accepting) -> None:
    """The same PID with another start time, as after reuse, never shares what was known of the first."""
    times = iter([100, 200, 200])
    table = ProcessTable(asyncio.get_running_loop(), start_time=lambda _: next(times))
    process = child(folder, 3)
    before, after, again = (table.acquire(listener.accept()) for _ in range(3))
    assert before is not after
    assert before.identity.pid == after.identity.pid
    assert again is after
    for caller in (before, after, again):
        table.release(caller)
    end(process)


async def test_another_process_that_holds_the_descriptor_is_not_the_caller(folder: Path, listener: Accepting) -> None:
    """A child that inherits the socket lives on; the caller that connected is gone, and so is its identity."""
    code = """
import os, socket, sys
held = socket.socket(socket.AF_UNIX); held.connect(sys.argv[1])
if os.fork() == 0:
    print("connected", flush=True); sys.stdin.read(); os._exit(0)
os.wait()
"""
    table = ProcessTable(asyncio.get_running_loop())
    process = child(folder, code=code)
    caller = table.acquire(listener.accept())
    gone = asyncio.Event()
    table.watch(caller, gone.set)
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(gone.wait(), 10)
    assert not caller.alive()
    table.release(caller)
    end(process)


def test_without_a_pidfd_the_start_time_tells() -> None:
    now = {7: 100}
    caller = LocalProcess(Process(pid=7, uid=0, gid=0, start_time=100), -1, now.get)
    assert caller.alive()
    now[7] = 200
    assert not caller.alive()
    del now[7]
    assert not caller.alive()


async def test_running_out_of_descriptors_is_not_taken_for_an_old_kernel(folder: Path, listener: Accepting) -> None:
    table = ProcessTable(asyncio.get_running_loop())
    process = child(folder)
    accepted = listener.accept()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            table.acquire(accepted)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    table.release(table.acquire(accepted))
    end(process)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"7 (a b) S " + b" ".join(str(n).encode() for n in range(4, 53)) + b"\n", 22),
        (b"7 (evil) S 1 1) R " + b" ".join(str(n).encode() for n in range(4, 53)), 22),
        (b"7 (x) S 1 2", None),
        (b"", None),
        (b"7 (x) S " + b"x " * 40, None),
    ],
)
def test_the_start_time_is_field_22_whatever_the_name_says(tmp_path: Path, text: bytes, expected: int | None) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(text)
    assert read_start_time(7, tmp_path) == expected
    assert read_start_time(8, tmp_path) is None


async def test_a_socket_without_a_local_process_is_refused() -> None:
    table = ProcessTable(asyncio.get_running_loop())
    with socket.socket(socket.AF_INET) as unconnected, pytest.raises(PeerUnknown):
        table.acquire(unconnected)
