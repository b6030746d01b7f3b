"""Looks at the audit log now and then: where it stands, and how far behind each sink is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sds.clock import Clock
from sds.logs import get_logger
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.ledger.cursors import Heads, SinkCursor
from sds.store.unit_of_work import UnitOfWork

LOOK = 0.5
"""Seconds between two looks. Appending wakes nobody: it is the hot path of issuance."""


@dataclass(frozen=True, slots=True)
class SinkStanding:
    """How a configured sink stands. `next_leaf` is the first that it has not been given, the lag what it lacks."""

    name: str
    next_leaf: int
    lag_events: int
    lag_seconds: float
    holder: str = ""
    delivered_at: datetime | None = None
    problem: str = ""
    problem_since: datetime | None = None


class WatchObserver(Protocol):
    def sink(self, standing: SinkStanding) -> None:
        """As it was found at the last look."""
        ...


class LedgerWatch:
    """`sinks` are the configured ones' names."""

    def __init__(self, store: Transactions, sinks: Collection[str], clock: Clock, observer: WatchObserver) -> None:
        self._store = store
        self._sinks = tuple(sinks)
        self._clock = clock
        self._observer = observer
        self._news = asyncio.Event()
        self._log = get_logger(__name__)
        self.heads = Heads(0, None, 0)
        self.standings: tuple[SinkStanding, ...] = ()

    @property
    def note(self) -> str:
        """The newest checkpoint; empty while there is none."""
        return "" if self.heads.checkpoint is None else self.heads.checkpoint.note

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._log.debug("how far the audit log has come is not known", reason=str(error))
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Raises StoreError."""
        heads, self.standings = await self.read()
        for standing in self.standings:
            self._observer.sink(standing)
        if heads != self.heads:
            self.heads = heads
            self._news.set()
            self._news = asyncio.Event()

    async def read(self) -> tuple[Heads, tuple[SinkStanding, ...]]:
        """How everything stands now. Raises StoreError."""
        return await self._store.read(lambda uow: _standings(uow, self._sinks))

    async def news(self, known: Heads, seconds: float) -> None:
        """Until the log stands elsewhere than `known`, at most `seconds`."""
        if self.heads != known:
            return
        waiting = self._news
        try:
            async with asyncio.timeout(seconds):
                await waiting.wait()
        except TimeoutError:
            return

    async def readiness(self) -> str | None:
        """A check for `/ready`: which sinks are not being told."""
        failing = [f"{one.name}: {one.problem}" for one in self.standings if one.problem]
        return f"sinks of the audit log fail ({'; '.join(failing)})" if failing else None


def _standings(uow: UnitOfWork, sinks: Collection[str]) -> tuple[Heads, tuple[SinkStanding, ...]]:
    heads = uow.cursors.heads()
    cursors = {cursor.sink: cursor for cursor in uow.cursors.all()} if sinks else {}
    behind = {max(cursor.leaf, heads.pruned) for cursor in cursors.values() if cursor.leaf < heads.leaves}
    times = uow.cursors.times(behind) if behind else {}
    return heads, tuple(_standing(name, cursors.get(name), heads, times, uow.now) for name in sinks)


def _standing(
    name: str, cursor: SinkCursor | None, heads: Heads, times: Mapping[int, datetime], now: datetime
) -> SinkStanding:
    if cursor is None:
        return SinkStanding(name, heads.pruned, heads.leaves - heads.pruned, 0.0)
    first = max(cursor.leaf, heads.pruned)
    since = times.get(first)
    return SinkStanding(
        name=name,
        next_leaf=cursor.leaf,
        lag_events=max(0, heads.leaves - cursor.leaf),
        lag_seconds=0.0 if since is None else max(0.0, (now - since).total_seconds()),
        holder=cursor.holder if cursor.held_until >= now else "",
        delivered_at=cursor.delivered_at,
        problem=cursor.problem,
        problem_since=cursor.problem_since,
    )
