"""The agent's data folder: 0700, its files 0600, every write atomic and durable, one agent at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ca.masked import Masked
from sds.agent.errors import DataFolderUnusable, IdentityUnusable
from sds.agent.identity import AgentIdentity, decode, encode

IDENTITY = "identity.json"
SUBSCRIPTIONS = "subscriptions.json"
MAX_FILE_BYTES = 64 * 1024 * 1024

_LOCK = "lock"
_TEMPORARY = ".tmp-"


class DataFolder:
    """Open it once at start and close it at the end. All methods block; call them in a thread once serving."""

    def __init__(self, path: Path) -> None:
        """Make, check and lock the folder. Raises DataFolderUnusable."""
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_folder(self.path)
            self._lock = _lock(self.path / _LOCK)
            for leftover in self.path.glob(f"*{_TEMPORARY}*"):
                leftover.unlink()
        except FileExistsError:
            raise DataFolderUnusable(
                f"the data folder {self.path} is no folder; remove what lies there or choose another with --data-dir"
            ) from None
        except OSError as error:
            raise DataFolderUnusable(f"the data folder {self.path} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Let another agent have the folder."""
        os.close(self._lock)

    def load_identity(self) -> AgentIdentity | None:
        """What was saved; None if nothing was. Raises DataFolderUnusable, IdentityUnusable."""
        content = self.read(IDENTITY)
        if content is None:
            return None
        try:
            return decode(content)
        except IdentityUnusable as error:
            raise IdentityUnusable(f"{self.path / IDENTITY} is damaged: {error}") from None

    def save_identity(self, identity: AgentIdentity) -> None:
        """Replace what was saved, or leave it as it was. Raises DataFolderUnusable."""
        self.write(IDENTITY, encode(identity))

    def read(self, name: str) -> Masked[bytes] | None:
        """The content of a file that is ours alone; None if there is none. Raises DataFolderUnusable."""
        path = self.path / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataFolderUnusable(f"{path} cannot be read: {error.strerror}") from error
        with os.fdopen(fd, "rb") as file:
            _check_file(path, os.fstat(fd))
            try:
                return Masked(file.read(MAX_FILE_BYTES))
            except OSError as error:
                raise DataFolderUnusable(f"{path} cannot be read: {error.strerror}") from error

    def write(self, name: str, content: Masked[bytes]) -> None:
        """Write a new file, make it durable, and put it in the old one's place. Raises DataFolderUnusable."""
        path = self.path / name
        temporary = self.path / f"{name}{_TEMPORARY}{secrets.token_hex(4)}"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(content.reveal())
                    file.flush()
                    os.fsync(fd)
                temporary.rename(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
            _sync_folder(self.path)
        except OSError as error:
            raise DataFolderUnusable(f"{path} cannot be written: {error.strerror}") from error


def _check_folder(path: Path) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise DataFolderUnusable(
            f"the data folder {path} belongs to uid {found.st_uid}; use: chown {os.geteuid()} {path}"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise DataFolderUnusable(f"the data folder {path} is open to other users; use: chmod 700 {path}")


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise DataFolderUnusable(f"{path} is not a file; remove it")
    if found.st_uid != os.geteuid():
        raise DataFolderUnusable(f"{path} belongs to uid {found.st_uid}; use: chown {os.geteuid()} {path}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise DataFolderUnusable(f"{path} is open to other users; use: chmod 600 {path} (and consider it disclosed)")
    if found.st_size > MAX_FILE_BYTES:
        raise DataFolderUnusable(f"{path} is larger than anything the agent writes; remove it")


def _lock(path: Path) -> int:
    """Hold the folder until the descriptor is closed, also by the kernel at our death (flock(2))."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise DataFolderUnusable(
            f"another agent uses the data folder {path.parent}; stop it or give this one a --data-dir of its own"
        ) from None
    return fd


def _sync_folder(path: Path) -> None:
    """Make a rename in `path` durable (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
