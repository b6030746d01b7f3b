"""Writing a sink's file: whole or not at all, for its owner alone, on memory where that is asked. Blocks."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ca.masked import Masked

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mountinfo")


class SinkUnusable(Exception):
    """The file cannot be written; the message says what to do and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where a sink writes. `uid` and `gid` None: ours. `in_memory`: only to a tmpfs or ramfs."""

    path: Path
    mode: int = 0o600
    uid: int | None = None
    gid: int | None = None
    in_memory: bool = True

    def write(self, content: Masked[bytes]) -> bool:
        """Whether the file is another one now. Raises SinkUnusable; then the former file stands."""
        data = content.reveal()
        try:
            folder = self._folder()
            try:
                return self._replace(folder, data)
            finally:
                os.close(folder)
        except OSError as error:
            raise SinkUnusable(f"{self.path} cannot be written: {error.strerror}") from None

    def remove(self) -> bool:
        """Whether there was one. Raises SinkUnusable."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SinkUnusable(f"{self.path} cannot be removed: {error.strerror}") from None
        return True

    def _folder(self) -> int:
        """Open it, so that it is the same one from the checks to the rename. Raises SinkUnusable, OSError.

        1. A folder, no link. 2. Nobody else could put something in our file's place. 3. In memory, if that is asked.
        """
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)  # 1
        try:
            self._judge(os.fstat(folder))
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _judge(self, found: os.stat_result) -> None:
        open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if open_to_others or found.st_uid not in {0, os.geteuid(), self.uid}:  # 2
            raise SinkUnusable(
                f"others may change what is in {self.path.parent}: give the folder to root, to the agent's user or to "
                "the file's owner, and close it to others' writing (chmod go-w)"
            )
        if self.in_memory and _kind_of_file_system(found.st_dev) not in _IN_MEMORY:  # 3
            raise SinkUnusable(
                f"{self.path.parent} is not in memory (tmpfs): write below /run, or set in_memory = false if it "
                "may be on a disk"
            )

    def _replace(self, folder: int, data: bytes) -> bool:
        if self._holds(folder, data):
            return False
        temporary = f".{self.path.name}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchown(descriptor, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
                os.fchmod(descriptor, self.mode)  # after chown(2), which clears bits
                os.fsync(descriptor)
            os.rename(temporary, self.path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
        return True

    def _holds(self, folder: int, data: bytes) -> bool:
        """Whether the file is as it should be already: after a restart nothing is written and no command runs."""
        try:
            descriptor = os.open(
                self.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder
            )
        except OSError:
            return False
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            same_owner = self.uid in {None, found.st_uid} and self.gid in {None, found.st_gid}
            if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != self.mode or not same_owner:
                return False
            return file.read(len(data) + 1) == data


def _kind_of_file_system(device: int) -> str:
    """Of a mounted device, from proc(5): field 3 is the device, the one after the hyphen its kind; "" if unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return ""
