"""Named secrets on this node: `LocalSecrets` is what the rest of the agent uses.

Whoever wants secrets says so with an interest: SDS streams do through `Cache.want`, everybody else with
`LocalSecrets.interest`. While an interest lives the server is asked for its names, for each entry that the process
matches; values come and change by themselves. With the last interest in a value that value leaves memory.

    interest = secrets.interest(workload, ["db-password"], wake)      # wake() is called on the loop at every change
    match secrets.find(workload, "db-password"):
        case SecretValue() as value: ...                              # good now; its fields are masked
        case Absence() as absence: ...                                # nothing to give, and why (for operators only)
        case None: ...                                                # not known yet: wait for wake
    interest.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from attestation.attestor import Process
from attestation.entry import RegistrationEntry
from attestation.selector import Selectors
from sds.agent.cache import Cache
from sds.agent.cache.group import Group, Member
from sds.agent.secrets.shelf import Shelf, Wanted
from sds.agent.secrets.values import SecretUpdate
from sds.clock import Clock
from sds.delivery.messages import NO_CERTIFICATE, NO_IDENTITY
from sds.delivery.view import Absence
from sds.secrets.secret import SecretValue

PAUSE = 0.5
"""Seconds between two looks at what time has done: as exact as patience and expiry are."""
LOOK_EVERY = timedelta(seconds=30)
"""A clock that was set shows at the latest then."""


class Grouped(Member, Protocol):
    """One live process with what it matches: a Workload."""

    @property
    def group(self) -> Group: ...


class SecretsObserver(Protocol):
    """Is told, on the loop, what becomes of secrets. Must neither block nor raise."""

    def received(self, count: int) -> None:
        """Values came."""
        ...

    def refused(self, problem: str) -> None:
        """The server sent what cannot be used."""
        ...

    def expired(self, secret: Wanted, spiffe_id: str) -> None:
        """A value has ended by itself and is given to nobody any more."""
        ...


@dataclass(frozen=True, slots=True)
class SecretsOptions:
    """`patience`: how long the server may take to answer before clients are told that there is nothing now."""

    patience: timedelta = timedelta(seconds=5)
    max_bytes: int = 2_097_152


class Interest:
    """Names that somebody wants until it is closed."""

    __slots__ = ("_cache", "_member", "_wake", "names")

    def __init__(self, cache: Cache, member: Grouped, wake: Callable[[], None]) -> None:
        self.names: tuple[str, ...] = ()
        self._cache = cache
        self._member = member
        self._wake = wake

    def change(self, names: Sequence[str]) -> None:
        """Want these and no others. Raises LimitExceeded; then nothing has changed."""
        self._cache.want(self._member, self._member.group, self._wake, names)
        self.names = tuple(names)

    def close(self) -> None:
        """Want nothing any more (idempotent)."""
        self.change(())


class StandIn:
    """A member of the cache that is no process: who acts for workloads with these selectors, as a file sink does."""

    __slots__ = ("_cache", "container", "group", "path", "process", "watchers")

    def __init__(self, cache: Cache, selectors: Selectors, process: Process, wake: Callable[[], None]) -> None:
        self.process = process
        self.path = self.container = ""
        self.watchers = (wake,)
        self._cache = cache
        self.group = Group(selectors)
        self.group = cache.join(selectors, self)

    @property
    def entries(self) -> tuple[RegistrationEntry, ...]:
        """The entries that match, the default one first."""
        return self.group.entries

    def close(self) -> None:
        """It acts for nobody any more; close its interests first."""
        self._cache.leave(self.group, self)


class LocalSecrets:
    """Everything happens on the loop's thread."""

    def __init__(
        self,
        cache: Cache,
        shelf: Shelf,
        observer: SecretsObserver,
        clock: Clock,
        options: SecretsOptions = SecretsOptions(),
    ) -> None:
        self._cache = cache
        self._shelf = shelf
        self._observer = observer
        self._clock = clock
        self._options = options
        self._news = asyncio.Event()
        self._stand_ins = 0

    # For those who use secrets

    def interest(self, workload: Grouped, names: Sequence[str], wake: Callable[[], None]) -> Interest:
        """`workload` wants these names from now on; `wake` is called on the loop when any of them is another one.

        An own `wake` for each interest. Names of identities and bundles are no secrets' and mean nothing here.
        Close it when the caller is gone. Raises LimitExceeded.
        """
        interest = Interest(self._cache, workload, wake)
        interest.change(names)
        return interest

    def find(self, workload: Grouped, name: str) -> SecretValue | Absence | None:
        """What the process may have under `name` now, why there is nothing, or None while that is not known yet.

        It is known only while somebody with the process's entries wants the name. Do not keep the value for longer
        than it is needed: it is to leave memory with the last interest.
        """
        if not self._cache.synced:
            return None
        if not workload.group.view:
            return Absence(NO_CERTIFICATE if workload.group.entries else NO_IDENTITY)
        return self._shelf.value(workload.group.key, name)

    def stand_in(self, selectors: Selectors, wake: Callable[[], None], uid: int = 0, gid: int = 0) -> StandIn:
        """Act for workloads with `selectors`; `wake` is called when what they match has changed."""
        self._stand_ins += 1
        return StandIn(self._cache, selectors, Process(0, uid, gid, self._stand_ins), wake)

    # For the connection to the server

    def apply(self, updates: Sequence[SecretUpdate], rejected: Sequence[str] = ()) -> None:
        """What the server says, and what of it could not be understood."""
        values, problems = self._shelf.apply(updates, self._clock.now())
        for problem in (*rejected, *problems):
            self._observer.refused(problem)
        if values:
            self._observer.received(values)
        self._cache.show_secrets()
        self._news.set()

    def give_up(self) -> None:
        """The server will not answer what was asked."""
        self._shelf.tire(self._clock.monotonic(), 0.0)
        self._cache.show_secrets()

    def stir(self) -> None:
        """Something is wanted that was not."""
        self._news.set()

    async def run(self) -> None:
        """Let time do its part, until cancelled."""
        while True:
            wait = self.look()
            self._news.clear()
            try:
                async with asyncio.timeout(None if wait is None else wait):
                    await self._news.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(PAUSE)

    def look(self) -> float | None:
        """Let go what has ended, and stop waiting for what does not come; seconds until the next look, None: never."""
        now, tick = self._clock.now(), self._clock.monotonic()
        patience = self._options.patience.total_seconds()
        self._shelf.tire(tick, patience)
        for secret in self._shelf.expire(now):
            entry = self._cache.entries.get(secret.entry_id)
            self._observer.expired(secret, str(entry.spiffe_id) if entry else "")
        self._cache.show_secrets()
        waits = []
        if (since := self._shelf.unanswered_since()) is not None:
            waits.append(since + patience - tick)
        if (end := self._shelf.next_end()) is not None:
            waits.append(min(end - now, LOOK_EVERY).total_seconds())
        return max(0.0, min(waits)) if waits else None

    # For operators

    def list(self) -> list[Wanted]:
        """All that is wanted here, without values."""
        return self._shelf.list()
