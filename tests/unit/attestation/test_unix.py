"""The unix attestor against fake /proc trees."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from attestation.attestor import Process
from attestation.catalog import WORKLOAD_ATTESTORS, WorkloadParts, workload_attestor
from attestation.selector import Selector
from attestation.workload.proc import ProcessGone, ProcFs
from attestation.workload.unix import HostNames, UnixAttestor, UnixConfig
from tests.unit.attestation.proctree import FakeProc, stat_line, status_text
from tests.unit.attestation.workload_fakes import FakeLog, FakeNames, wall


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    (tmp_path / "proc").mkdir()
    return FakeProc(tmp_path / "proc")


def mount_line(kind: str) -> bytes:
    return f"40 22 0:50 / /mnt rw - {kind} source rw\n".encode() if kind else b""


class TestFakeTrees:
    PROCESS = Process(7, 1000, 1000, 5000)

    def make(self, proc: FakeProc, log: FakeLog, names: FakeNames | None = None, **config: object) -> UnixAttestor:
        return UnixAttestor(
            UnixConfig(**config),  # type: ignore[arg-type]
            log=log,
            now=wall,
            proc=proc.fs,
            names=names or FakeNames({1000: "web"}, {1000: "web", 7: "db"}),
        )

    def test_facts(self, proc: FakeProc, log: FakeLog, tmp_path: Path) -> None:
        binary = (tmp_path / "bin").resolve()
        binary.write_bytes(b"content")
        proc.add(7, status=status_text(groups=(7, 8)), exe=binary)
        assert {str(s) for s in self.make(proc, log).attest(self.PROCESS)} == {
            "unix:uid:1000",
            "unix:gid:1000",
            "unix:user:web",
            "unix:group:web",
            "unix:supplementary_gid:7",
            "unix:supplementary_gid:8",
            "unix:supplementary_group:db",
            f"unix:path:{binary}",
            f"unix:sha256:{hashlib.sha256(b'content').hexdigest()}",
        }

    def test_everything_off(self, proc: FakeProc, log: FakeLog) -> None:
        proc.add(7, exe="/bin/sleep")
        attestor = self.make(proc, log, discover_names=False, discover_path=False, discover_sha256=False)
        assert {str(s) for s in attestor.attest(self.PROCESS)} == {"unix:uid:1000", "unix:gid:1000"}

    def test_unreadable_facts_are_absent_and_logged_once(self, proc: FakeProc, log: FakeLog) -> None:
        proc.add(7, status=b"garbage")
        attestor = self.make(proc, log, FakeNames())
        for _ in range(3):
            assert {str(s) for s in attestor.attest(self.PROCESS)} == {"unix:uid:1000", "unix:gid:1000"}
        assert sorted(str(line["fact"]) for line in log.lines) == ["binary", "group", "supplementary groups", "user"]
        assert {(line["pid"], line["uid"]) for line in log.lines} == {(7, 1000)}

    def test_too_many_groups(self, proc: FakeProc, log: FakeLog) -> None:
        proc.add(7, status=status_text(groups=range(10_000)))
        found = self.make(proc, log, discover_names=False).attest(self.PROCESS)
        assert len(found) == 2 + 256
        assert "supplementary groups" in log.facts()

    def test_who_ends_meanwhile_gets_nothing(self, proc: FakeProc, log: FakeLog) -> None:
        folder = proc.add(7)

        class EndingNames(FakeNames):
            def user(self, uid: int) -> str | None:
                (folder / "stat").write_bytes(stat_line(7, start_time=5001))
                return None

        with pytest.raises(ProcessGone, match="ended while"):
            self.make(proc, log, EndingNames()).attest(self.PROCESS)

    @pytest.mark.parametrize(
        ("own", "its", "known"),
        [
            ("ext4", "", True),
            ("", "overlay", True),
            ("ext4", "fuse", True),  # the number is our own mount's first
            ("fuse", "", False),
            ("fuse.sshfs", "", False),
            ("fuseblk", "", False),
            ("", "fuse.gcsfuse", False),
            ("", "", False),
        ],
    )
    def test_filesystems_made_by_a_process_are_not_trusted(
        self, proc: FakeProc, log: FakeLog, tmp_path: Path, own: str, its: str, known: bool
    ) -> None:
        binary = (tmp_path / "bin").resolve()
        binary.write_bytes(b"content")
        folder = proc.add(7, exe=binary)
        (folder / "mountinfo").write_bytes(mount_line(its))
        ours = tmp_path / "self"
        (ours / "fdinfo").mkdir(parents=True)
        for fd in range(256):
            (ours / "fdinfo" / str(fd)).write_bytes(b"pos:\t0\nflags:\t012100000\nmnt_id:\t40\nino:\t7\n")
        (ours / "mountinfo").write_bytes(mount_line(own))
        attestor = UnixAttestor(UnixConfig(), log=log, now=wall, proc=ProcFs(proc.root, ours), names=FakeNames())
        facts = {s.value.partition(":")[0] for s in attestor.attest(self.PROCESS)}
        assert ({"path", "sha256"} <= facts) is known
        assert facts.isdisjoint({"path", "sha256"}) is not known
        assert ("binary" in log.facts()) is not known

    def test_names_that_are_no_selectors(self, proc: FakeProc, log: FakeLog) -> None:
        proc.add(7)
        found = self.make(proc, log, FakeNames({1000: "a\nb"}, {1000: ""})).attest(self.PROCESS)
        assert Selector("unix", "uid:1000") in found
        assert not any(s.value.startswith("user:") for s in found)

    def test_large_binaries_get_no_digest(self, proc: FakeProc, log: FakeLog, tmp_path: Path) -> None:
        large = tmp_path / "large"
        large.write_bytes(b"x" * 1001)
        proc.add(7, exe=large)
        found = self.make(proc, log, sha256_max_bytes=1000).attest(self.PROCESS)
        assert not any(s.value.startswith("sha256:") for s in found)
        assert "sha256" in log.facts()

    @pytest.mark.parametrize("kind", ["fifo", "folder", "missing"])
    def test_odd_targets_block_nothing(self, proc: FakeProc, log: FakeLog, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "odd"
        if kind == "fifo":
            os.mkfifo(target)
        elif kind == "folder":
            target.mkdir()
        proc.add(7, exe=target)
        found = self.make(proc, log).attest(self.PROCESS)
        assert not any(s.value.startswith("sha256:") for s in found)

    def test_a_relative_link_is_no_path(self, proc: FakeProc, log: FakeLog) -> None:
        folder = proc.add(7)
        shutil.copy("/bin/sleep", folder / "bin")
        (folder / "exe").symlink_to("bin")
        found = self.make(proc, log).attest(self.PROCESS)
        assert not any(s.value.startswith("path:") for s in found)

    def test_the_link_lies(self, proc: FakeProc, log: FakeLog, tmp_path: Path) -> None:
        """What the link says leads elsewhere by the time it is looked up: no path."""
        one, other = tmp_path / "one", tmp_path / "other"
        one.write_bytes(b"1")
        other.symlink_to(one)
        proc.add(7, exe=other)
        found = {str(s) for s in self.make(proc, log).attest(self.PROCESS)}
        assert not any(s.startswith("unix:path:") for s in found)


def test_catalogue(log: FakeLog) -> None:
    assert set(WORKLOAD_ATTESTORS) == {"unix"}
    process = ProcFs().identify(os.getpid(), os.geteuid(), os.getegid())
    found = workload_attestor(WorkloadParts(log, wall)).attest(process)
    assert Selector("unix", f"uid:{os.geteuid()}") in found
    assert workload_attestor(WorkloadParts(log, wall, unix=None)).attest(process) == frozenset()


def test_host_names_of_ids_that_are_none() -> None:
    for number in (-1, 2**31, 2**32, 2**70, 4_294_000_000):
        assert HostNames().user(number) is None
        assert HostNames().group(number) is None
