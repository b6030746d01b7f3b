"""The unix attestor against real child processes and the real /proc."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attestation.attestor import Process
from attestation.errors import AttestationRefused
from attestation.workload.proc import ProcFs
from attestation.workload.unix import HostNames, UnixAttestor, UnixConfig
from tests.unit.attestation.workload_fakes import FakeLog, wall

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def attestor(log: FakeLog) -> UnixAttestor:
    return UnixAttestor(UnixConfig(), log=log, now=wall)


@pytest.fixture
def binary() -> Iterator[Path]:
    """An executable of our own in a folder that every user may enter (pytest's are private)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        target = folder / "sleeper"
        shutil.copy("/bin/sleep", target)
        target.chmod(0o755)
        yield target


@contextmanager
def running(binary: Path, **how: object) -> Iterator[Process]:
    child = subprocess.Popen([binary, "60"], **how)  # type: ignore[call-overload]
    try:
        uid, gid = how.get("user", os.geteuid()), how.get("group", os.getegid())
        yield ProcFs().identify(child.pid, uid, gid)  # type: ignore[arg-type]
    finally:
        child.kill()
        child.wait()


def values(attestor: UnixAttestor, process: Process) -> dict[str, set[str]]:
    """Selectors by their first word."""
    found: dict[str, set[str]] = {}
    for selector in attestor.attest(process):
        assert selector.type == "unix"
        kind, _, value = selector.value.partition(":")
        found.setdefault(kind, set()).add(value)
    return found


def digest(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class TestRealProcesses:
    def test_all_facts(self, attestor: UnixAttestor, binary: Path, log: FakeLog) -> None:
        with running(binary) as process:
            found = values(attestor, process)
        names = HostNames()
        assert found["uid"] == {str(os.geteuid())}
        assert found["gid"] == {str(os.getegid())}
        assert found["user"] == {names.user(os.geteuid())}
        assert found["group"] == {names.group(os.getegid())}
        assert found["path"] == {str(binary)}
        assert found["sha256"] == {digest(binary)}
        assert log.lines == []

    @needs_root
    def test_another_user_and_supplementary_groups(self, attestor: UnixAttestor, binary: Path, log: FakeLog) -> None:
        with running(binary, user=54321, group=54322, extra_groups=[0, 54323]) as process:
            found = values(attestor, process)
        assert found == {
            "uid": {"54321"},
            "gid": {"54322"},
            "supplementary_gid": {"0", "54323"},
            "supplementary_group": {"root"},
            "path": {str(binary)},
            "sha256": {digest(binary)},
        }
        assert log.facts() == {"user", "group", "supplementary_group"}

    @needs_root
    def test_no_groups_when_a_process_drops_them(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(binary, user=54321, group=54322, extra_groups=[]) as process:
            assert "supplementary_gid" not in values(attestor, process)

    @needs_root
    def test_an_agent_without_privileges_sees_less_and_says_so(self, binary: Path) -> None:
        program = """
import os, sys
from datetime import datetime, timezone
from attestation.workload.proc import ProcFs
from attestation.workload.unix import UnixAttestor, UnixConfig
class Log:
    def info(self, event, **facts):
        print("log", facts["fact"])
process = ProcFs().identify(int(sys.argv[1]), 54321, 54322)
attestor = UnixAttestor(UnixConfig(discover_names=False), log=Log(), now=lambda: datetime.now(timezone.utc))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(*sorted(map(str, attestor.attest(process))), sep="\\n")
"""
        with running(binary, user=54321, group=54322, extra_groups=[54323]) as process:
            done = subprocess.run(
                [sys.executable, "-c", program, str(process.pid)],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        assert done.stdout.split("\n")[:-1] == [
            "log binary",
            "unix:gid:54322",
            "unix:supplementary_gid:54323",
            "unix:uid:54321",
        ]

    def test_a_deleted_binary_has_no_path_but_its_content(
        self, attestor: UnixAttestor, binary: Path, log: FakeLog
    ) -> None:
        expected = digest(binary)
        with running(binary) as process:
            binary.unlink()
            found = values(attestor, process)
        assert "path" not in found
        assert found["sha256"] == {expected}
        assert log.facts() == {"path"}

    def test_a_replaced_binary_lends_no_path(self, attestor: UnixAttestor, binary: Path) -> None:
        """The usual upgrade: the old process runs on while its name leads to the new file."""
        old = digest(binary)
        with running(binary) as process:
            new = binary.with_name("new")
            shutil.copy("/bin/cat", new)
            new.rename(binary)
            found = values(attestor, process)
        assert "path" not in found
        assert found["sha256"] == {old} != {digest(binary)}

    def test_a_file_called_deleted_in_its_place(self, attestor: UnixAttestor, binary: Path) -> None:
        """After the unlink the kernel's text is `NAME (deleted)`; somebody puts another file there."""
        with running(binary) as process:
            binary.unlink()
            shutil.copy("/bin/cat", f"{binary} (deleted)")
            assert "path" not in values(attestor, process)

    def test_a_binary_really_called_deleted(self, attestor: UnixAttestor, binary: Path) -> None:
        odd = binary.with_name("sleeper (deleted)")
        binary.rename(odd)
        with running(odd) as process:
            assert values(attestor, process)["path"] == {str(odd)}

    def test_a_renamed_binary_has_its_new_path(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(binary) as process:
            moved = binary.rename(binary.with_name("moved"))
            assert values(attestor, process)["path"] == {str(moved)}

    def test_hard_links_tell_two_processes_of_one_binary_apart(self, attestor: UnixAttestor, binary: Path) -> None:
        other = binary.with_name("other")
        os.link(binary, other)
        with running(binary) as first, running(other) as second:
            one, two = values(attestor, first), values(attestor, second)
        assert (one["path"], two["path"]) == ({str(binary)}, {str(other)})
        assert one["sha256"] == two["sha256"]

    def test_one_of_two_hard_links_is_deleted(self, attestor: UnixAttestor, binary: Path) -> None:
        os.link(binary, binary.with_name("other"))
        with running(binary) as process:
            binary.unlink()
            found = values(attestor, process)
        assert "path" not in found
        assert found["sha256"] == {digest("/bin/sleep")}

    def test_a_symbolic_link_is_not_the_path(self, attestor: UnixAttestor, binary: Path) -> None:
        link = binary.with_name("link")
        link.symlink_to(binary)
        with running(link) as process:
            assert values(attestor, process)["path"] == {str(binary)}

    def test_argv_counts_for_nothing(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(Path("/usr/bin/envoy"), executable=str(binary)) as process:
            assert values(attestor, process)["path"] == {str(binary)}

    @pytest.mark.parametrize("name", ["line\nend", "tab\tname", "bidi\u202ename", b"not-utf8-\xff"])
    def test_a_path_that_is_no_selector_is_absent(
        self, attestor: UnixAttestor, binary: Path, log: FakeLog, name: str | bytes
    ) -> None:
        odd = binary.with_name(os.fsdecode(name))
        binary.rename(odd)
        with running(odd) as process:
            found = values(attestor, process)
        assert "path" not in found
        assert "sha256" in found
        assert log.facts() == {"path"}

    def test_a_path_with_colons_and_spaces(self, attestor: UnixAttestor, binary: Path) -> None:
        odd = binary.rename(binary.with_name("a b:sha256:c"))
        with running(odd) as process:
            assert values(attestor, process)["path"] == {str(odd)}

    @needs_root
    def test_another_mount_namespace_cannot_lend_a_path(self, attestor: UnixAttestor, binary: Path) -> None:
        """A process mounts its own binary over a trusted one where only itself sees it."""
        if shutil.which("unshare") is None:
            pytest.skip("needs unshare(1) of util-linux")
        trusted = binary.with_name("trusted")
        shutil.copy("/bin/cat", trusted)
        command = f"mount --bind {binary} {trusted} && exec {trusted} 60"
        child = subprocess.Popen(["unshare", "--mount", "sh", "-c", command])
        try:
            exe = Path(f"/proc/{child.pid}/exe")
            wait_for(lambda: exe.readlink().name == "trusted")
            found = values(attestor, ProcFs().identify(child.pid, 0, 0))
        finally:
            child.kill()
            child.wait()
        assert "path" not in found
        assert found["sha256"] == {digest("/bin/sleep")}

    def test_the_process_dies_first(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(binary) as process:
            pass
        with pytest.raises(AttestationRefused):
            attestor.attest(process)

    def test_another_start_time_is_another_process(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(binary) as process:
            earlier = Process(process.pid, process.uid, process.gid, process.start_time - 1)
            with pytest.raises(AttestationRefused, match="another process"):
                attestor.attest(earlier)

    @needs_root
    def test_who_dropped_its_user_since_it_connected_is_refused(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(binary, user=54321, group=54322, extra_groups=[]) as process:
            for uid, gid in ((0, 54322), (54321, 0)):
                was = Process(process.pid, uid, gid, process.start_time)
                with pytest.raises(AttestationRefused, match="connect again"):
                    attestor.attest(was)

    def test_many_threads(self, attestor: UnixAttestor, binary: Path) -> None:
        found: list[object] = []
        with running(binary) as process:
            threads = [threading.Thread(target=lambda: found.append(attestor.attest(process))) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(found) == 16
        assert len(set(found)) == 1

    def test_no_descriptor_is_left_open(self, attestor: UnixAttestor, binary: Path) -> None:
        with running(binary) as process:
            attestor.attest(process)
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(10):
                attestor.attest(process)
            assert len(list(Path("/proc/self/fd").iterdir())) == before


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
