"""One attested process: what it proved, what it may have, who waits for news of that. Implements delivery's Caller."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Protocol

from attestation.attestor import Process
from attestation.entry import RegistrationEntry
from attestation.errors import AttestationRefused
from attestation.selector import Selectors
from sds.agent.cache.group import Group, Member
from sds.delivery.ports import CallerInfo
from sds.delivery.view import View

_PATH = "path:"


class Memory(Protocol):
    """Remembers names for processes that will not repeat them."""

    def recall(self, process: Process) -> tuple[str, ...]: ...

    def remember(self, process: Process, names: Sequence[str]) -> None: ...


class StreamCount(Protocol):
    """Counts a user's open streams."""

    def acquire(self, key: Hashable) -> str | None: ...

    def release(self, key: Hashable) -> None: ...


class Wants(Protocol):
    """Knows which secrets are wanted."""

    def want(self, member: Member, group: Group, wake: Callable[[], None], names: Iterable[str]) -> None:
        """Raises LimitExceeded."""
        ...


class Workload:
    """Shared by all connections and streams of one process."""

    __slots__ = (
        "_described",
        "_description",
        "_memory",
        "_streams",
        "_wants",
        "_watchers",
        "container",
        "group",
        "process",
        "refusal",
    )

    def __init__(self, process: Process, memory: Memory, streams: StreamCount, wants: Wants) -> None:
        self.process = process
        self.group = Group(frozenset())
        self.refusal: str | None = None
        self.container = ""  # set before anybody asks for a description
        self._memory = memory
        self._streams = streams
        self._wants = wants
        self._watchers: dict[Callable[[], None], None] = {}  # a set in order
        self._description = CallerInfo()
        self._described: tuple[Selectors, tuple[RegistrationEntry, ...]] | None = None

    @property
    def selectors(self) -> Selectors:
        return self.group.selectors

    @property
    def entries(self) -> tuple[RegistrationEntry, ...]:
        """The entries that match, the default one first."""
        return self.group.entries

    @property
    def path(self) -> str:
        return self.description.path

    @property
    def watchers(self) -> Collection[Callable[[], None]]:
        return self._watchers

    @property
    def description(self) -> CallerInfo:
        basis = (self.group.selectors, self.group.entries)
        if self._described is None or any(a is not b for a, b in zip(self._described, basis, strict=True)):
            self._described = basis
            self._description = self._describe()
        return self._description

    def _describe(self) -> CallerInfo:
        process = self.process
        return CallerInfo(
            pid=process.pid,
            uid=process.uid,
            gid=process.gid,
            start_time=process.start_time,
            path=binary_path(self.selectors),
            container=self.container,
            selectors=tuple(sorted(str(selector) for selector in self.selectors)),
            spiffe_ids=tuple(dict.fromkeys(str(entry.spiffe_id) for entry in self.entries)),
        )

    def view(self) -> View:
        """Raises AttestationRefused when the process is gone or is not what it was."""
        if self.refusal is not None:
            raise AttestationRefused(self.refusal)
        return self.group.view

    def entitled(self) -> bool:
        return bool(self.group.entries)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        self._watchers[wake] = None
        self._streams.acquire(self.process.uid)

        def unwatch() -> None:
            if wake in self._watchers:
                del self._watchers[wake]
                self._streams.release(self.process.uid)
                self.want(wake, ())

        return unwatch

    def want(self, wake: Callable[[], None], names: Sequence[str]) -> None:
        self._wants.want(self, self.group, wake, names)

    def remembered(self) -> Sequence[str]:
        return self._memory.recall(self.process)

    def remember(self, names: Sequence[str]) -> None:
        self._memory.remember(self.process, names)

    def move(self, group: Group) -> None:
        """The process proves other facts now."""
        former, self.group = self.group, group
        if former.view is not group.view:
            self.wake()

    def refuse(self, reason: str) -> None:
        """End its streams: the process is gone or may not be served any more."""
        self.refusal = reason
        self.wake()

    def wake(self) -> None:
        for wake in tuple(self._watchers):
            wake()


def binary_path(selectors: Selectors) -> str:
    """The running binary as the unix attestor saw it; empty where that is not known."""
    for selector in selectors:
        if selector.type == "unix" and selector.value.startswith(_PATH):
            return selector.value.removeprefix(_PATH)
    return ""
