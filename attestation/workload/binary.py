"""The binary that a process runs, reached through the kernel's own link and never by its name."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from attestation.workload.proc import OpenProcess, Unreadable

_CHUNK = 1_048_576
_CACHED_DIGESTS = 256
_SETTLED_NS = 2_000_000_000
"""A file changed more recently than this is not cached: its next change might bear the same time stamp."""

_Key = tuple[int, int, int, int, int]

_OWN_DESCRIPTORS = Path("/proc/self/fd")


def binary_path(process: OpenProcess, fd: int) -> str:
    """The name of the binary `fd`, as this host's mount namespace has it.

    1. The kernel says which name the running file had (a link's text, with `` (deleted)`` behind it if that is gone).
    2. The name counts only if it leads, here, to the very file that runs: same device, same inode, no link at its end.
       So a deleted or replaced file, another mount namespace or a cunning name give no path instead of a wrong one.

    Raises Unreadable.
    """
    name = process.link("exe")
    if not name.startswith("/"):
        raise Unreadable("the binary has no path in this mount namespace")
    running = os.fstat(fd)
    try:
        named = os.lstat(name)
    except (OSError, ValueError):
        raise Unreadable("the binary was deleted, or lies in another mount namespace") from None
    if (named.st_dev, named.st_ino) != (running.st_dev, running.st_ino) or running.st_nlink == 0:
        raise Unreadable("the binary's path leads to another file here")
    return name


def check_filesystem(process: OpenProcess, fd: int) -> None:
    """Refuse binaries on file systems that some process implements (FUSE).

    It could show the agent another content than it runs, or answer never. The file system itself is not asked: the
    mount is looked up in the kernel's tables. Raises Unreadable.
    """
    mount = process.mount_id(fd)
    kind = filesystem_type(process.own_mounts(), mount) or filesystem_type(process.read("mountinfo"), mount)
    if not kind:
        raise Unreadable("the binary's mount is not in the process's mount namespace")
    if kind.startswith("fuse"):
        raise Unreadable("the binary lies on a FUSE file system, whose content cannot be trusted")


def filesystem_type(mountinfo: bytes, mount_id: bytes) -> str:
    """The type of a mount in /proc/PID/mountinfo; empty if it is not there."""
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(b" - ")  # optional fields stand before the dash; spaces are escaped
        if dash and left.split(b" ", 1)[0] == mount_id:
            return right.split(b" ", 1)[0].decode("ascii", errors="replace")
    return ""


class BinaryDigests:
    """SHA-256 of binaries, each read once while it stays unchanged. May be used from several threads."""

    __slots__ = ("_cache", "_lock", "_max_bytes", "_now")

    def __init__(self, max_bytes: int, now: Callable[[], datetime]) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._cache: OrderedDict[_Key, str] = OrderedDict()
        self._lock = threading.Lock()

    def digest(self, fd: int) -> str:
        """Lower-case hex digest of the regular file that the descriptor (O_PATH) names. Raises Unreadable."""
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable("the binary is not a regular file")
        if before.st_size > self._max_bytes:
            raise Unreadable(f"the binary has more than {self._max_bytes} bytes")
        key = _key(before)
        with self._lock:
            known = self._cache.get(key)
            if known is not None:
                self._cache.move_to_end(key)
                return known
        started = int(self._now().timestamp() * 1e9)
        digest = self._read(fd, key)
        if before.st_ctime_ns + _SETTLED_NS < started:
            self._remember(key, digest)
        return digest

    def _read(self, fd: int, key: _Key) -> str:
        """Hash through a second descriptor of the same file; it must not change meanwhile."""
        try:
            readable = os.open(_OWN_DESCRIPTORS / str(fd), os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise Unreadable(f"the binary cannot be opened: {error.strerror}") from None
        hasher = hashlib.sha256()
        with os.fdopen(readable, "rb", buffering=0) as file:
            left = self._max_bytes
            try:
                while chunk := file.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise Unreadable(f"the binary has more than {self._max_bytes} bytes")
                    hasher.update(chunk)
                after = os.fstat(file.fileno())
            except OSError as error:
                raise Unreadable(f"the binary cannot be read: {error.strerror}") from None
        if _key(after) != key:
            raise Unreadable("the binary changed while it was read")
        return hasher.hexdigest()

    def _remember(self, key: _Key, digest: str) -> None:
        with self._lock:
            self._cache[key] = digest
            while len(self._cache) > _CACHED_DIGESTS:
                self._cache.popitem(last=False)


def _key(facts: os.stat_result) -> _Key:
    """What changes when the content does; the change time cannot be set by the file's owner."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
