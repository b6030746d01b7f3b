from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.attestor import Process
from attestation.errors import AttestationRefused
from attestation.workload.proc import (
    MAX_FILE_BYTES,
    ProcessGone,
    ProcFs,
    Unreadable,
    parse_credentials,
    parse_stat,
)
from tests.unit.attestation.proctree import FakeProc, stat_line, status_text

EVIL_NAMES = ["a b", "a) S 1 2 3", ") Z 0", "((", "))", ")", "(", "\n", "a\nb) R 9", "", "1 (x) S 2", "\\", "\u00e4"]


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


class TestStat:
    @pytest.mark.parametrize("comm", EVIL_NAMES)
    def test_the_name_cannot_move_the_fields(self, comm: str) -> None:
        found = parse_stat(stat_line(7, comm=comm, state="R", start_time=4711))
        assert (found.state, found.start_time) == ("R", 4711)

    @given(st.text(max_size=15), st.integers(0, 2**64 - 1))
    def test_any_name(self, comm: str, start: int) -> None:
        line = f"7 ({comm}) S {' '.join(['0'] * 18)} {start} 0 0\n".encode(errors="surrogateescape")
        assert parse_stat(line).start_time == start

    @pytest.mark.parametrize(
        "content",
        [b"", b")", b"7 (x) S 1 2 3", b"7 (x)", b"\0" * 100, stat_line(7).replace(b" 5000 ", b" -1 "), b"x" * 1000],
    )
    def test_unknown_forms(self, content: bytes) -> None:
        with pytest.raises(Unreadable):
            parse_stat(content)

    def test_a_real_process_with_an_evil_name(self, tmp_path: Path) -> None:
        binary = tmp_path / "a) R 1 (b"
        os.link("/bin/sleep", binary) if _same_device(tmp_path) else binary.write_bytes(Path("/bin/sleep").read_bytes())
        binary.chmod(0o755)
        with subprocess.Popen([binary, "60"]) as child:
            try:
                process = ProcFs().identify(child.pid, 0, 0)
                hertz, uptime = os.sysconf("SC_CLK_TCK"), float(Path("/proc/uptime").read_text().split()[0])
                assert abs(process.start_time / hertz - uptime) < 30
            finally:
                child.kill()


def _same_device(folder: Path) -> bool:
    return Path("/bin/sleep").stat().st_dev == folder.stat().st_dev


class TestCredentials:
    def test_all_four_of_each_and_the_groups(self) -> None:
        found = parse_credentials(status_text(uids=(1, 2, 3, 4), gids=(5, 6, 7, 8), groups=(9, 10)))
        assert found.uids == {1, 2, 3, 4}
        assert found.gids == {5, 6, 7, 8}
        assert found.groups == (9, 10)

    def test_no_groups(self) -> None:
        assert parse_credentials(status_text(groups=())).groups == ()

    def test_a_name_cannot_pose_as_a_line(self) -> None:
        # the kernel writes a line end in the name as \n (two characters)
        assert parse_credentials(status_text(name="x\\nUid:\\t0\\t0\\t0\\t0", uids=(5, 5, 5, 5))).uids == {5}

    @pytest.mark.parametrize(
        "content",
        [b"", b"Name:\tx\n", status_text().replace(b"Groups:", b"Grp:"), status_text(uids=(1, 2, 3)), b"\xff" * 100],
    )
    def test_unknown_forms(self, content: bytes) -> None:
        with pytest.raises(Unreadable):
            parse_credentials(content)

    def test_of_this_process(self) -> None:
        with ProcFs().open(os.getpid()) as process:
            found = process.credentials()
        assert os.getuid() in found.uids
        assert os.getgid() in found.gids
        assert set(found.groups) == set(os.getgroups())

    @pytest.mark.skipif(os.geteuid() != 0, reason="sets supplementary groups, which only root can")
    def test_as_many_groups_as_linux_allows(self) -> None:
        groups = list(range(100_000, 165_536))
        with subprocess.Popen(["/bin/sleep", "60"], extra_groups=groups) as child:
            try:
                with ProcFs().open(child.pid) as process:
                    assert process.credentials().groups == tuple(groups)
                    assert len(process.read("status")) < MAX_FILE_BYTES
            finally:
                child.kill()


class TestIdentity:
    def test_fake(self, proc: FakeProc) -> None:
        proc.add(7, stat=stat_line(7, start_time=42))
        assert proc.fs.identify(7, 1, 2) == Process(7, 1, 2, 42)
        assert proc.fs.still_same(Process(7, 1, 2, 42))
        assert not proc.fs.still_same(Process(7, 1, 2, 43))
        assert not proc.fs.still_same(Process(8, 1, 2, 42))

    @pytest.mark.parametrize("pid", [0, -1, 8, 10**12])
    def test_nobody(self, proc: FakeProc, pid: int) -> None:
        with pytest.raises(ProcessGone):
            proc.fs.identify(pid, 0, 0)
        assert not proc.fs.still_same(Process(pid, 0, 0, 0))

    @pytest.mark.parametrize("state", ["Z", "X", "x"])
    def test_the_dead_are_gone(self, proc: FakeProc, state: str) -> None:
        proc.add(7, stat=stat_line(7, state=state))
        assert not proc.fs.still_same(Process(7, 1000, 1000, 5000))
        with pytest.raises(AttestationRefused):
            proc.fs.identify(7, 0, 0)

    def test_a_reused_pid(self, proc: FakeProc) -> None:
        folder = proc.add(7, stat=stat_line(7, start_time=1))
        (folder / "stat").write_bytes(stat_line(7, start_time=2))
        with pytest.raises(ProcessGone, match="another process"), proc.fs.open_same(Process(7, 1000, 1000, 1)):
            pytest.fail("opened another process")

    def test_a_garbled_stat_is_nobody(self, proc: FakeProc) -> None:
        proc.add(7, stat=b"garbage")
        assert not proc.fs.still_same(Process(7, 1000, 1000, 5000))

    def test_a_real_one_that_ends(self) -> None:
        with subprocess.Popen(["/bin/sleep", "60"]) as child:
            process = ProcFs().identify(child.pid, 0, 0)
            assert ProcFs().still_same(process)
            with ProcFs().open_same(process) as opened:
                child.kill()
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
                assert not ProcFs().still_same(process)
                child.wait()
                # whoever gets the PID next, the open folder stays the dead one's
                with pytest.raises((ProcessGone, Unreadable)):
                    opened.stat()
        assert not ProcFs().still_same(process)

    def test_files_are_bounded(self, proc: FakeProc) -> None:
        folder = proc.add(7)
        with (folder / "status").open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)
        with proc.fs.open(7) as process, pytest.raises(Unreadable, match="too long"):
            process.credentials()

    def test_no_descriptor_is_left_open(self, proc: FakeProc) -> None:
        proc.add(7, exe="/bin/sleep")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            with proc.fs.open(7) as process, process.target("exe"):
                process.stat()
            with proc.fs.open(7) as process, pytest.raises(Unreadable):
                process.read("missing")
            with pytest.raises(Unreadable), proc.fs.open(7) as process, process.target("missing"):
                pass
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def wait_ticks(more: int) -> None:
    """Wait for so many ticks of the clock by which the kernel tells start times."""

    def now() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 10**9

    end = now() + more
    while now() < end:
        time.sleep(0.001)


def test_start_times_tell_processes_apart() -> None:
    children = []
    try:
        for _ in range(2):
            children.append(subprocess.Popen(["/bin/sleep", "60"]))
            wait_ticks(2)
        first, second = (ProcFs().identify(child.pid, 0, 0).start_time for child in children)
        assert first < second
    finally:
        for child in children:
            child.kill()
            child.wait()
