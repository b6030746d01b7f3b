"""Callers with the same selectors, and waking them without starving the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from attestation.attestor import Process
from attestation.entry import RegistrationEntry
from attestation.selector import Selectors
from sds.delivery.view import EMPTY, View

WAKES_PER_TURN = 128
"""How many watchers one turn of the loop wakes, so that requests and the relay's bytes are served in between."""


class Member(Protocol):
    """One live process in a group."""

    @property
    def process(self) -> Process: ...

    @property
    def path(self) -> str:
        """Of the running binary; empty where that is not known."""
        ...

    @property
    def container(self) -> str:
        """Its ID; empty outside of one."""
        ...

    @property
    def watchers(self) -> Collection[Callable[[], None]]:
        """Called when the view may be another one."""
        ...


class Group:
    """All members with one set of selectors; `entries` are those that match, the default one first."""

    __slots__ = ("_stirred", "entries", "members", "selectors", "view")

    def __init__(self, selectors: Selectors) -> None:
        self.selectors = selectors
        self.entries: tuple[RegistrationEntry, ...] = ()
        self.view: View = EMPTY
        self.members: dict[Process, Member] = {}
        self._stirred: asyncio.Event | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Groups with the same key have the same view."""
        return tuple(entry.id for entry in self.entries)

    def next_stir(self) -> asyncio.Event:
        """Is set at the next `stir`."""
        if self._stirred is None or self._stirred.is_set():
            self._stirred = asyncio.Event()
        return self._stirred

    def stir(self) -> None:
        """Something happened that somebody may wait for."""
        if self._stirred is not None:
            self._stirred.set()


class Waker:
    """Calls many watchers, some at each turn of the loop, in the order in which they were given."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def wake(self, watchers: Iterable[Callable[[], None]]) -> None:
        """The first ones are called before this returns."""
        idle = not self._waiting
        self._waiting.extend(watchers)
        if idle:
            self._some()

    def _some(self) -> None:
        now, self._waiting = self._waiting[:WAKES_PER_TURN], self._waiting[WAKES_PER_TURN:]
        for wake in now:
            wake()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._some)
