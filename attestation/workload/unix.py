"""The `unix` workload attestor: what the kernel knows about a local process.

| selector | from |
|---|---|
| ``unix:uid:N``, ``unix:gid:N`` | the connection's peer credentials (unix(7), SO_PEERCRED) |
| ``unix:user:NAME``, ``unix:group:NAME`` | their names by the host's user database |
| ``unix:supplementary_gid:N``, ``unix:supplementary_group:NAME`` | /proc/PID/status |
| ``unix:path:PATH`` | the kernel's link to the running binary, if that name leads to it on this host |
| ``unix:sha256:HEX`` | the running binary's content |

A script's binary is its interpreter. What cannot be read is absent, and logged once a process.
"""

from __future__ import annotations

import grp
import pwd
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.attestor import Process
from attestation.errors import InvalidSelector
from attestation.selector import Selector, Selectors
from attestation.workload.binary import BinaryDigests, binary_path, check_filesystem
from attestation.workload.proc import Credentials, OpenProcess, ProcessGone, ProcFs, Unreadable

TYPE = "unix"
MAX_GROUPS = 256
_TOLD_PROCESSES = 4096


@dataclass(frozen=True, slots=True)
class UnixConfig:
    """Which facts are looked for. Binaries above `sha256_max_bytes` get no digest."""

    discover_names: bool = True
    discover_path: bool = True
    discover_sha256: bool = True
    sha256_max_bytes: int = 536_870_912


class Names(Protocol):
    """The host's user database; None for an ID without a name."""

    def user(self, uid: int) -> str | None: ...

    def group(self, gid: int) -> str | None: ...


class HostNames:
    """Through the C library, and so through whatever nsswitch.conf names: a call may take its time."""

    __slots__ = ()

    def user(self, uid: int) -> str | None:
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError, OSError):
            return None

    def group(self, gid: int) -> str | None:
        try:
            return grp.getgrgid(gid).gr_name
        except (KeyError, OverflowError, OSError):
            return None


class FactLog(Protocol):
    """The part of a structlog logger that is used here."""

    def info(self, event: str, **facts: object) -> object: ...


class UnixAttestor:
    """Implements attestation.attestor.WorkloadAttestor. Blocks (files, user database): call it in a thread.

    May be called from several threads at once.
    """

    __slots__ = ("_config", "_digests", "_lock", "_log", "_names", "_proc", "_told")

    def __init__(
        self,
        config: UnixConfig,
        *,
        log: FactLog,
        now: Callable[[], datetime],
        proc: ProcFs | None = None,
        names: Names | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._proc = proc or ProcFs()
        self._names = names or HostNames()
        self._digests = BinaryDigests(config.sha256_max_bytes, now)
        self._told: OrderedDict[tuple[int, int, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def attest(self, process: Process) -> Selectors:
        """Facts about `process`:

        1. the PID still belongs to it (start time), through a folder that can show no other process;
        2. it still has the user and group that it connected with;
        3. facts;
        4. it is still alive, so that no fact is about its end.

        Raises AttestationRefused.
        """
        with self._proc.open_same(process) as opened:
            facts: list[str] = []
            facts += self._ids(process)
            with self._fact(process, "supplementary groups"):
                facts += self._groups(process, _same_user(process, opened.credentials()))
            if self._config.discover_path or self._config.discover_sha256:
                with self._fact(process, "binary"):
                    facts += self._binary(process, opened)
            if not self._proc.still_same(process):
                raise ProcessGone("the process ended while it was attested")
        return self._selectors(process, facts)

    def _ids(self, process: Process) -> Iterator[str]:
        yield f"uid:{process.uid}"
        yield f"gid:{process.gid}"
        if self._config.discover_names:
            yield from self._named(process, "user", process.uid, self._names.user)
            yield from self._named(process, "group", process.gid, self._names.group)

    def _groups(self, process: Process, groups: tuple[int, ...]) -> Iterator[str]:
        if len(groups) > MAX_GROUPS:
            self._tell(process, "supplementary groups", f"only the first {MAX_GROUPS} of {len(groups)} are used")
        for gid in groups[:MAX_GROUPS]:
            yield f"supplementary_gid:{gid}"
            if self._config.discover_names:
                yield from self._named(process, "supplementary_group", gid, self._names.group)

    def _named(self, process: Process, kind: str, number: int, find: Callable[[int], str | None]) -> Iterator[str]:
        name = find(number)
        if name is None:
            self._tell(process, kind, f"{number} has no name on this host")
        else:
            yield f"{kind}:{name}"

    def _binary(self, process: Process, opened: OpenProcess) -> Iterator[str]:
        with opened.target("exe") as fd:
            check_filesystem(opened, fd)
            if self._config.discover_path:
                with self._fact(process, "path"):
                    yield f"path:{binary_path(opened, fd)}"
            if self._config.discover_sha256:
                with self._fact(process, "sha256"):
                    yield f"sha256:{self._digests.digest(fd)}"

    def _selectors(self, process: Process, facts: list[str]) -> Selectors:
        """As selectors; a fact that is no selector (a path with a line end in it) is absent."""
        selectors = set()
        for fact in facts:
            try:
                selectors.add(Selector(TYPE, fact))
            except InvalidSelector as error:
                self._tell(process, fact.partition(":")[0], str(error))
        return frozenset(selectors)

    @contextmanager
    def _fact(self, process: Process, name: str) -> Iterator[None]:
        """What cannot be read inside is absent."""
        try:
            yield
        except Unreadable as error:
            self._tell(process, name, str(error))

    def _tell(self, process: Process, fact: str, reason: str) -> None:
        """Log, once a process and fact: live streams are attested again and again."""
        key = (process.pid, process.start_time, fact)
        with self._lock:
            if key in self._told:
                return
            self._told[key] = None
            if len(self._told) > _TOLD_PROCESSES:
                self._told.popitem(last=False)
        self._log.info(
            "a fact about a process is not known", pid=process.pid, uid=process.uid, fact=fact, reason=reason
        )


def _same_user(process: Process, now: Credentials) -> tuple[int, ...]:
    """The supplementary groups, if the process may still act as the user and group that it connected with."""
    if process.uid not in now.uids or process.gid not in {*now.gids, *now.groups}:
        raise ProcessGone("the process has changed its user or group since it connected; it must connect again")
    return now.groups
