"""One sink's task: hold its cursor, hand over what comes next, move the cursor on, and again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from sds.audit.event import Outcome, Target
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.audit_sinks.outlet import Outlet, SinkFailed, TooLarge
from sds.server.audit_sinks.portion import Portion, next_portion
from sds.server.audit_sinks.watch import LedgerWatch
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.ledger.cursors import SinkCursor
from sds.store.unit_of_work import UnitOfWork

TOLD_AFTER = 3
"""Failures in a row after which the audit log tells of them; one that passes is worth a line in the log at most."""
LET_GO_AFTER = 6
"""Failures in a row after which another replica may try: the receiver may be unreachable from this host alone."""
IDLE = 5.0
"""Seconds between two looks of a sink that has nothing to do, or that another process serves."""
_STORE_PAUSE = 1.0
LAST = 2.0
"""Seconds that a server which ends spends on what a sink lacks; the rest is told by the next one."""


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """What is configured of a sink, and not of its kind's own."""

    name: str
    kind: str
    batch: int
    newest: bool
    timeout: timedelta
    backoff: Backoff

    @property
    def lease(self) -> timedelta:
        """How long a cursor is held after its holder was last heard of."""
        return max(timedelta(seconds=20), 3 * self.timeout)


class FeedObserver(Protocol):
    def delivered(self, sink: str, events: int) -> None: ...

    def failed(self, sink: str) -> None: ...


@dataclass(frozen=True, slots=True)
class FeedParts:
    """What all feeders share. `holder` names this process, and no other ever."""

    store: Transactions
    events: Events
    watch: LedgerWatch
    clock: Clock
    observer: FeedObserver
    holder: str


class Feeder:
    """Made for one sink."""

    def __init__(self, plan: SinkPlan, outlet: Outlet, parts: FeedParts) -> None:
        self._plan = plan
        self._outlet = outlet
        self._parts = parts
        self._cursor: SinkCursor | None = None
        self._limit = plan.batch
        self._failures = 0
        self._log = get_logger(__name__, sink=plan.name)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._turn()
            except StoreError as error:
                self._cursor = None
                self._log.debug("a sink waits for the database", reason=str(error))
                await asyncio.sleep(_STORE_PAUSE)

    async def close(self) -> None:
        """Tell what is left, let another process have the cursor at once, and let go of the receiver. Bounded.

        Once `run` was cancelled.
        """
        name, holder = self._plan.name, self._parts.holder
        try:
            with suppress(TimeoutError, SinkFailed):
                async with asyncio.timeout(LAST):
                    await self._rest()
            await self._parts.store.write(lambda uow: uow.cursors.release(name, holder))
        except StoreError as error:
            self._log.info("a sink's cursor is free only when its time is over", reason=str(error))
        await self._outlet.close()

    async def _rest(self) -> None:
        """Of a sink that takes what it is told. Raises SinkFailed, StoreError."""
        while (cursor := self._cursor) is not None and not self._failures:
            portion = await self._next(cursor)
            if not portion.items:
                return
            await self._outlet.deliver(portion.items)
            await self._delivered(cursor, portion)

    async def _next(self, cursor: SinkCursor) -> Portion:
        return await self._parts.store.read(lambda uow: next_portion(uow, cursor, self._limit))

    async def _turn(self) -> None:
        """One delivery, or a while of waiting for something to deliver. Raises StoreError."""
        cursor = await self._held()
        if cursor is None:
            await asyncio.sleep(IDLE * (0.5 + self._parts.clock.jitter() / 2))
            return
        known = self._parts.watch.heads
        portion = await self._next(cursor)
        if not portion.items and portion.pruned is None:
            await self._parts.watch.news(known, IDLE)
            return
        try:
            if portion.items:
                await self._outlet.deliver(portion.items)
        except SinkFailed as error:
            await self._failed(error)
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not end the server
            self._log.exception("a sink broke")
            await self._failed(SinkFailed(f"internal error ({type(error).__name__})"))
        else:
            await self._delivered(cursor, portion)

    async def _held(self) -> SinkCursor | None:
        """The cursor, held for a while to come; None while another process has it. Raises StoreError."""
        plan, now = self._plan, self._parts.clock.now()
        if self._cursor is not None and now + plan.lease / 2 < self._cursor.held_until:
            return self._cursor

        def claim(uow: UnitOfWork) -> SinkCursor | None:
            return uow.cursors.claim(plan.name, self._parts.holder, uow.now + plan.lease, newest=plan.newest)

        had, self._cursor = self._cursor, await self._parts.store.write(claim)
        if (had is None) != (self._cursor is None) and self._cursor is not None:
            self._log.info("this process tells the audit log to a sink", leaf=self._cursor.leaf)
        return self._cursor

    async def _delivered(self, cursor: SinkCursor, portion: Portion) -> None:
        name, holder = self._plan.name, self._parts.holder

        def move(uow: UnitOfWork) -> SinkCursor | None:
            until = uow.now + self._plan.lease
            if not uow.cursors.advance(name, holder, until, portion.leaf, portion.checkpoint):
                return None
            if portion.pruned is not None:
                self._tell_pruned(uow, portion.pruned)
            if cursor.problem:
                self._tell(uow, "audit.sink.recovered", Outcome.SUCCESS, "", {"problem": cursor.problem})
            return SinkCursor(name, portion.leaf, portion.checkpoint, holder, until, uow.now, "", None)

        self._cursor = await self._parts.store.write(move)
        self._parts.observer.delivered(name, len(portion.items))
        if self._failures:
            self._log.info("a sink takes events again", failures=self._failures)
        self._failures = 0
        self._limit = min(self._plan.batch, self._limit * 2)

    async def _failed(self, error: SinkFailed) -> None:
        """Note it, and wait. Raises StoreError."""
        if isinstance(error, TooLarge) and self._limit > 1:
            self._limit = max(1, self._limit // 2)
            return
        self._failures += 1
        self._parts.observer.failed(self._plan.name)
        if self._failures == 1:
            self._log.warning("a sink does not take what it is told; it is told again", reason=str(error))
        if self._failures >= TOLD_AFTER:
            await self._note(str(error))
        if self._failures >= LET_GO_AFTER:
            self._cursor = None
            await self._parts.store.write(lambda uow: uow.cursors.release(self._plan.name, self._parts.holder))
        delay = self._plan.backoff.delay(self._failures, self._parts.clock.jitter())
        await asyncio.sleep(delay.total_seconds())

    async def _note(self, problem: str) -> None:
        """Where all replicas, and administrators, see it."""

        def note(uow: UnitOfWork) -> None:
            if uow.cursors.fail(self._plan.name, self._parts.holder, problem):
                self._tell(uow, "audit.sink.problem", Outcome.FAILURE, problem, {})

        if self._cursor is None or self._cursor.problem == problem:
            return
        await self._parts.store.write(note)
        self._cursor = None  # claimed again it says what is in the database

    def _tell_pruned(self, uow: UnitOfWork, pruned: tuple[int, int]) -> None:
        first, last = pruned
        reason = "events were pruned before the sink had been told of them"
        self._tell(uow, "audit.sink.problem", Outcome.FAILURE, reason, {"first_leaf": first, "last_leaf": last})

    def _tell(self, uow: UnitOfWork, action: str, outcome: Outcome, reason: str, details: dict[str, str | int]) -> None:
        uow.audit.append(
            self._parts.events.make(
                uow.now,
                action,
                system_actor(),
                Target("sink", self._plan.name),
                outcome=outcome,
                reason=reason,
                details={"kind": self._plan.kind, **details},
            )
        )
