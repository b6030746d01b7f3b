"""The journal on disk: only ever appended to while the server runs, and durable before an answer is given."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sds.logs import get_logger
from sds.server.revocation.journal import JournalUnusable, Known, decode, encode

MAX_BYTES = 64 * 1024 * 1024
COMPACT_BYTES = 16 * 1024 * 1024
"""Fifty thousand revocations have half of it."""
_MODE = 0o600


class JournalFile:
    """Blocks: call it from a worker thread, one call at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seal = ""
        self._size = 0
        self._log = get_logger(__name__)

    @property
    def large(self) -> bool:
        """Whether most of it must be what was overtaken since."""
        return self._size > COMPACT_BYTES

    def load(self) -> Known:
        """Empty if there is no file. Raises JournalUnusable, OSError."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return Known()
        with os.fdopen(descriptor, "r+b") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
                raise JournalUnusable(f"{self.path} is no file, or has more than {MAX_BYTES} bytes: move it away")
            known, self._seal, sound = decode(file.read())
            if sound < found.st_size:
                self._log.warning(
                    "the last line of the journal of revocations was cut off", bytes=found.st_size - sound
                )
                file.truncate(sound)
            self._size = sound
        return known

    def append(self, news: Known) -> None:
        """Durable when this returns. Raises OSError; then the file may end with a line that was cut off."""
        lines, seal = encode(news, self._seal)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, _MODE)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write(descriptor, lines)
                os.fsync(descriptor)
                self._size = size + len(lines)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        self._seal = seal

    def rewrite(self, known: Known) -> None:
        """In place of all that it said; durable when this returns. Raises OSError: the old one stands."""
        lines, seal = encode(known)
        beside = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            _write(descriptor, lines)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(self.path)
        self._sync_folder()
        self._seal, self._size = seal, len(lines)

    def set_aside(self) -> Path:
        """Of another database: out of the way, not deleted. Raises OSError."""
        aside = self.path.with_name(f"{self.path.name}.of-another-database")
        self.path.replace(aside)
        self._sync_folder()
        self._seal, self._size = "", 0
        return aside

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
