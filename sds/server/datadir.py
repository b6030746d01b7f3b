"""The server's folder: its own alone, and one server's at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

from sds.net.folder import private_folder

_LOCK = "lock"


class DataDirUnusable(Exception):
    """The data folder cannot be used; the message says what to do."""


class DataDir:
    """Made 0700 and locked for as long as this object is open. Blocks: use it at start and end only."""

    def __init__(self, path: Path) -> None:
        """Raises DataDirUnusable."""
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
        except FileExistsError:
            raise DataDirUnusable(
                f"the data folder {path} is no folder; remove what lies there or choose another with --data-dir"
            ) from None
        except OSError as error:
            raise DataDirUnusable(f"the data folder {path} cannot be made: {error.strerror}") from None
        if found.st_uid not in (0, os.geteuid()):
            raise DataDirUnusable(f"the data folder {path} belongs to another user (uid {found.st_uid})")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise DataDirUnusable(f"others may use the data folder {path} (mode {mode:04o}): chmod 700 it")
        self._lock = _lock(path / _LOCK)
        self.sockets = private_folder(path)
        """For grpcio's own sockets: new, private, gone after `close`."""

    def close(self) -> None:
        shutil.rmtree(self.sockets, ignore_errors=True)
        os.close(self._lock)


def _lock(path: Path) -> int:
    """Held until the descriptor is closed, by the kernel too (flock(2))."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise DataDirUnusable(f"{path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DataDirUnusable(
            f"another server runs on the data folder {path.parent}; stop it, or give this one its own with --data-dir"
        ) from None
    return descriptor
