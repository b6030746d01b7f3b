"""Fake /proc trees: real folders with the files that are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attestation.workload.proc import ProcFs


def stat_line(pid: int, *, comm: str = "envoy", state: str = "S", start_time: int = 5000) -> bytes:
    """As the kernel writes it: pid (comm) state and then numbers; field 22 is the start time."""
    numbers = ["0"] * 18 + [str(start_time)] + ["0"] * 30
    return f"{pid} ({comm}) {state} {' '.join(numbers)}\n".encode()


def status_text(
    *,
    uids: Sequence[int] = (1000,) * 4,
    gids: Sequence[int] = (1000,) * 4,
    groups: Sequence[int] = (),
    name: str = "envoy",
) -> bytes:
    lines = [
        f"Name:\t{name}",
        "Umask:\t0022",
        "State:\tS (sleeping)",
        "Uid:\t" + "\t".join(map(str, uids)),
        "Gid:\t" + "\t".join(map(str, gids)),
        "FDSize:\t64",
        "Groups:\t" + " ".join(map(str, groups)) + " ",
        "VmPeak:\t  100 kB",
    ]
    return ("\n".join(lines) + "\n").encode()


@dataclass
class FakeProc:
    root: Path

    @property
    def fs(self) -> ProcFs:
        return ProcFs(self.root)

    def add(
        self, pid: int, *, stat: bytes | None = None, status: bytes | None = None, exe: str | Path | None = None
    ) -> Path:
        folder = self.root / str(pid)
        folder.mkdir()
        (folder / "stat").write_bytes(stat_line(pid) if stat is None else stat)
        (folder / "status").write_bytes(status_text() if status is None else status)
        if exe is not None:
            (folder / "exe").symlink_to(exe)
        (folder / "mountinfo").write_bytes(b"")
        return folder
