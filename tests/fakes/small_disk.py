"""A file system of bounded size, to run out of space for real."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MountRefused(Exception):
    """Why this process may not mount."""


class SmallDisk:
    """A tmpfs; `fill` takes the space that is left, `relieve` gives it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (65536, 4096, 512, 1):
                try:
                    while file.write(b"\0" * size):
                        continue
                except OSError:
                    continue

    def relieve(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(size: str) -> Iterator[SmallDisk]:
    """A folder on a file system of `size` (as mount takes it, e.g. ``2m``). Raises MountRefused."""
    if os.geteuid() != 0:
        raise MountRefused("only root may mount a file system of bounded size")
    # Not pytest's folder: another user, such as PostgreSQL's, must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="sds-disk-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        folder.rmdir()
        raise MountRefused(f"mounting a tmpfs is not permitted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
