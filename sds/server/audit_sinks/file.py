"""A sink that is a file: one JSON object a line, on the disk before it counts as delivered."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sds.audit.sinks.items import Item, line
from sds.server.audit_sinks.outlet import SinkFailed

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class FileWriter:
    """Implements Writer. The file is opened anew when another, or none, is at its path (logrotate)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def write(self, items: Sequence[Item], seconds: float) -> None:
        del seconds  # a disk that hangs cannot be told to stop
        fd = self._open()
        before = os.fstat(fd).st_size
        content = b"".join(line(item) + b"\n" for item in items)
        if before and os.pread(fd, 1, before - 1) != b"\n":
            content = b"\n" + content  # somebody was killed in the middle of a line
        try:
            _write_all(fd, content)
            os.fsync(fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(fd, before)  # half a batch would be read twice
            self.close()
            raise SinkFailed(f"{self._path} cannot be written: {error.strerror}") from None

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> int:
        """Raises SinkFailed."""
        if self._fd >= 0 and _same(self._path, os.fstat(self._fd)):
            return self._fd
        self.close()
        try:
            fd = os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            raise SinkFailed(f"{self._path} cannot be opened: {error.strerror}") from None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(fd)
            raise SinkFailed(f"{self._path} is not a file of this server's own user")
        try:
            if stat.S_IMODE(found.st_mode) & 0o022:  # who rotates it may let others read, but nobody else may write
                os.fchmod(fd, stat.S_IMODE(found.st_mode) & ~0o022)
            _sync_folder(self._path.parent)
        except OSError as error:
            os.close(fd)
            raise SinkFailed(f"{self._path} cannot be opened: {error.strerror}") from None
        self._fd = fd
        return fd


def _same(path: Path, opened: os.stat_result) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _sync_folder(folder: Path) -> None:
    """A new file's name must outlive a power cut as its content does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
