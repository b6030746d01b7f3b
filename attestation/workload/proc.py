"""Reading one process from /proc (proc(5)) so that nothing read can belong to another.

`/proc/PID` is opened once; everything is then read relative to that descriptor, which names this very process even
after its PID was given to another one: reads fail then instead of answering for the newcomer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attestation.attestor import Process
from attestation.errors import AttestationRefused

MAX_FILE_BYTES = 2_097_152  # 65,536 supplementary groups (NGROUPS_MAX) make /proc/PID/status some 720 KB long
_DEAD_STATES = frozenset("ZXx")  # zombie and dead: nobody is there any more to be served


class ProcessGone(AttestationRefused):
    """The process has ended, or another one has its PID now."""


class Unreadable(Exception):
    """One fact about a living process cannot be read; the message says why in words safe to log."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """From /proc/PID/stat: the state's letter, and the start in clock ticks since boot."""

    state: str
    start_time: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """From /proc/PID/status: real, effective, saved and file system IDs, and the supplementary groups."""

    uids: frozenset[int]
    gids: frozenset[int]
    groups: tuple[int, ...]


class OpenProcess:
    """A process whose /proc folder is held open."""

    __slots__ = ("_fd", "_own")

    def __init__(self, fd: int, own: Path) -> None:
        self._fd = fd
        self._own = own

    def stat(self) -> ProcessStat:
        """Raises ProcessGone, Unreadable."""
        return parse_stat(self.read("stat"))

    def credentials(self) -> Credentials:
        """Raises ProcessGone, Unreadable."""
        return parse_credentials(self.read("status"))

    def read(self, name: str) -> bytes:
        """One whole file of the folder. Raises ProcessGone, Unreadable."""
        with self._errors(name):
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
            with os.fdopen(fd, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise Unreadable(f"{name} is too long")
        return content

    def link(self, name: str) -> str:
        """What a symbolic link says. Raises ProcessGone, Unreadable."""
        with self._errors(name):
            return os.readlink(name, dir_fd=self._fd)

    @contextmanager
    def target(self, name: str) -> Iterator[int]:
        """A descriptor (O_PATH) of what the kernel's link leads to, whatever the name of that may be by now."""
        with self._errors(name):
            fd = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def mount_id(self, fd: int) -> bytes:
        """The mount through which one of our own descriptors was opened. Raises Unreadable."""
        with self._errors("fdinfo"):
            info = (self._own / "fdinfo" / str(fd)).read_bytes()
        found = _MOUNT_ID.search(info)
        if found is None:
            raise Unreadable("fdinfo has an unknown form")
        return found[1]

    def own_mounts(self) -> bytes:
        """The mountinfo of our own mount namespace. Raises Unreadable."""
        with self._errors("mountinfo"):
            return (self._own / "mountinfo").read_bytes()

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except ProcessLookupError:
            raise ProcessGone("the process has ended") from None
        except OSError as error:
            raise Unreadable(f"{name}: {error.strerror}") from None


class ProcFs:
    """A mounted proc file system. `own` is our own folder there, which a proc of other namespaces does not have."""

    __slots__ = ("_own", "_root")

    def __init__(self, root: Path = Path("/proc"), own: Path = Path("/proc/self")) -> None:
        self._root = root
        self._own = own

    @contextmanager
    def open(self, pid: int) -> Iterator[OpenProcess]:
        """The process that has `pid` now. Raises ProcessGone."""
        if pid <= 0:  # what SO_PEERCRED says of a peer in a foreign PID namespace
            raise ProcessGone("the process cannot be seen from here; the agent must share its PID namespace")
        try:
            fd = os.open(self._root / str(pid), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise ProcessGone("the process has ended, or /proc hides it from the agent (hidepid)") from None
        try:
            yield OpenProcess(fd, self._own)
        finally:
            os.close(fd)

    def identify(self, pid: int, uid: int, gid: int) -> Process:
        """The living process behind a connection's peer credentials. Raises ProcessGone."""
        with self.open(pid) as process:
            return Process(pid, uid, gid, _living(process).start_time)

    def still_same(self, process: Process) -> bool:
        """Whether `process` lives and its PID is still its own; ask before and after an attestation."""
        try:
            with self.open(process.pid) as opened:
                return _living(opened).start_time == process.start_time
        except ProcessGone:
            return False

    @contextmanager
    def open_same(self, process: Process) -> Iterator[OpenProcess]:
        """`process`, and no other one. Raises ProcessGone."""
        with self.open(process.pid) as opened:
            if _living(opened).start_time != process.start_time:
                raise ProcessGone("another process has this PID now")
            yield opened


def _living(process: OpenProcess) -> ProcessStat:
    try:
        stat = process.stat()
    except Unreadable as error:
        raise ProcessGone(f"the process cannot be told from others: {error}") from None
    if stat.state in _DEAD_STATES:
        raise ProcessGone("the process has ended")
    return stat


def parse_stat(content: bytes) -> ProcessStat:
    """Read /proc/PID/stat. The command name (field 2) may hold spaces, parentheses and line ends. Raises Unreadable."""
    fields = content.rpartition(b")")[2].split()
    # what follows the name starts with field 3, the state; the start time is field 22
    if len(fields) < 20 or len(fields[0]) != 1 or not fields[19].isdigit():
        raise Unreadable("stat has an unknown form")
    return ProcessStat(fields[0].decode("ascii", errors="replace"), int(fields[19]))


_MOUNT_ID = re.compile(rb"^mnt_id:\s*([0-9]+)$", re.MULTILINE)
_IDS = re.compile(rb"^(Uid|Gid):((?:\s+[0-9]+){4})\s*$", re.MULTILINE)
_GROUPS = re.compile(rb"^Groups:((?:[ \t]+[0-9]+)*)[ \t]*$", re.MULTILINE)


def parse_credentials(content: bytes) -> Credentials:
    """Read /proc/PID/status, in which the kernel escapes line ends of the command name. Raises Unreadable."""
    ids = {name: frozenset(int(number) for number in numbers.split()) for name, numbers in _IDS.findall(content)}
    groups = _GROUPS.search(content)
    if b"Uid" not in ids or b"Gid" not in ids or groups is None:
        raise Unreadable("status has an unknown form")
    return Credentials(ids[b"Uid"], ids[b"Gid"], tuple(int(number) for number in groups[1].split()))
