"""Local processes at the other end of a Unix socket, known by what the kernel says and defended against PID reuse."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from attestation.attestor import Process
from sds.net.errors import PeerUnknown

SO_PEERPIDFD = 77
"""Linux 6.5: a pidfd of the process that connected, even if its PID has been given to another since."""

_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid
_NO_PIDFD = -1
_GONE = frozenset({errno.ESRCH, errno.EINVAL, errno.ENODATA})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def peer_credentials(sock: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of the process that connected `sock`, as the kernel recorded them then (SO_PEERCRED, unix(7))."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return pid, uid, gid


def read_start_time(pid: int, proc: Path = Path("/proc")) -> int | None:
    """When `pid` started, in clock ticks since boot (proc_pid_stat(5), field 22); None if it is gone."""
    try:
        text = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in field 2 may hold spaces and parentheses; the last ")" ends it.
    fields = text[text.rfind(b")") + 2 :].split()
    try:
        return int(fields[19])
    except (IndexError, ValueError):
        return None


def find_process(pid: int, proc: Path = Path("/proc")) -> Process:
    """The process that has `pid` now, with its effective user and group (proc_pid_status(5)). Raises PeerUnknown.

    For an operator who asks about a PID. A caller is never known this way.
    """
    start_time = read_start_time(pid, proc)
    try:
        status = (proc / str(pid) / "status").read_bytes()
        uid, gid = (_effective_id(status, name) for name in (b"Uid", b"Gid"))
    except (OSError, ValueError):
        raise PeerUnknown("there is no such process on this node") from None
    if start_time is None or read_start_time(pid, proc) != start_time:
        raise PeerUnknown("there is no such process on this node")
    return Process(pid, uid, gid, start_time)


def _effective_id(status: bytes, name: bytes) -> int:
    """Raises ValueError."""
    for line in status.splitlines():
        key, _, ids = line.partition(b":")
        if key == name:
            return int(ids.split()[1])
    raise ValueError("no such line")


class LocalProcess:
    """One process that holds at least one connection. Shared by all its connections, with one descriptor."""

    __slots__ = ("_exited", "_pidfd", "_start_time", "_watchers", "identity", "references")

    def __init__(self, identity: Process, pidfd: int, start_time: Callable[[int], int | None]) -> None:
        self.identity = identity
        self.references = 0
        self._pidfd = pidfd
        self._start_time = start_time
        self._exited = False
        self._watchers: dict[Callable[[], None], None] = {}  # a set in order

    @property
    def pidfd(self) -> int:
        """A descriptor that becomes readable when the process exits; -1 where the kernel has none."""
        return self._pidfd

    def alive(self) -> bool:
        """Whether this very process still runs: not another one with its PID."""
        if self._exited:
            return False
        if self._pidfd != _NO_PIDFD:
            return not _readable(self._pidfd)
        return self._start_time(self.identity.pid) == self.identity.start_time

    def watch(self, exited: Callable[[], None]) -> None:
        """Have `exited` called once, on the loop, when the process is gone."""
        self._watchers[exited] = None

    def unwatch(self, exited: Callable[[], None]) -> None:
        self._watchers.pop(exited, None)

    def mark_exited(self) -> None:
        """Tell everyone who watches. Called by the table."""
        self._exited = True
        watchers, self._watchers = self._watchers, {}
        for exited in watchers:
            exited()

    def close(self) -> None:
        """Give the descriptor back. Called by the table when the last connection is gone."""
        self._exited = True
        if self._pidfd != _NO_PIDFD:
            os.close(self._pidfd)
            self._pidfd = _NO_PIDFD


class ProcessTable:
    """Names the process behind each connection. Used on the loop's thread only."""

    __slots__ = ("_by_identity", "_loop", "_start_time")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, start_time: Callable[[int], int | None] = read_start_time
    ) -> None:
        self._loop = loop
        self._start_time = start_time
        self._by_identity: dict[Process, LocalProcess] = {}

    def acquire(self, sock: socket.socket) -> LocalProcess:
        """The process that connected `sock`; give it back with `release`. Raises PeerUnknown.

        The start time is read while the pidfd says that the process lives, so it cannot be that of a later process
        with the same PID. Without SO_PEERPIDFD the pidfd is opened by PID: then only a process that died between its
        connect and our accept, and whose PID was reused in that moment, could be mistaken for its successor.
        Raises OSError when we are out of descriptors.
        """
        pid, uid, gid = peer_credentials(sock)
        if pid <= 0:
            raise PeerUnknown("the caller is in a PID namespace that this process cannot see")
        pidfd = _open_pidfd(sock, pid)
        start_time = self._start_time(pid)
        if start_time is None or (pidfd != _NO_PIDFD and _readable(pidfd)):
            _close(pidfd)
            raise PeerUnknown("the caller is gone")
        identity = Process(pid=pid, uid=uid, gid=gid, start_time=start_time)
        known = self._by_identity.get(identity)
        if known is None:
            known = self._by_identity[identity] = LocalProcess(identity, pidfd, self._start_time)
            if pidfd != _NO_PIDFD:
                self._loop.add_reader(pidfd, self._exited, known)
        else:
            _close(pidfd)
        known.references += 1
        return known

    def release(self, process: LocalProcess) -> None:
        """Give back what `acquire` returned."""
        process.references -= 1
        if process.references > 0:
            return
        if self._by_identity.get(process.identity) is process:
            del self._by_identity[process.identity]
        if process.pidfd != _NO_PIDFD:
            self._loop.remove_reader(process.pidfd)
        process.close()

    def watch(self, process: LocalProcess, gone: Callable[[], None]) -> None:
        """Have `gone` called once, on the loop, when `process` has exited."""
        process.watch(gone)

    def unwatch(self, process: LocalProcess, gone: Callable[[], None]) -> None:
        process.unwatch(gone)

    def __len__(self) -> int:
        return len(self._by_identity)

    def _exited(self, process: LocalProcess) -> None:
        self._loop.remove_reader(process.pidfd)
        if self._by_identity.get(process.identity) is process:
            del self._by_identity[process.identity]
        process.mark_exited()


def _open_pidfd(sock: socket.socket, pid: int) -> int:
    """A pidfd of the peer, or -1 where the kernel has none. Raises PeerUnknown if it is gone, OSError if we are out of
    descriptors (a weaker check must not take its place then).
    """
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno in _GONE:
            raise PeerUnknown("the caller is gone") from None
        if error.errno in _EXHAUSTED:
            raise
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _GONE:
            raise PeerUnknown("the caller is gone") from None
        if error.errno in _EXHAUSTED:
            raise
        return _NO_PIDFD  # no such system call, or forbidden by a sandbox
    except AttributeError:  # Python was built without it
        return _NO_PIDFD


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _close(pidfd: int) -> None:
    if pidfd != _NO_PIDFD:
        os.close(pidfd)
