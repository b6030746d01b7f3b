"""Retention: takes the oldest events, and leaves a signed statement and all hashes, so that the rest still verifies.

First the statement is stored, with its own audit event, in one transaction; then what it says is gone is deleted in
small pieces. A process that dies in between leaves events that are stated to be gone; the next one deletes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sds.audit.checkpoint import Pruning, signed
from sds.audit.event import Actor, Json, Target
from sds.audit.merkle import DamagedTree, frontier_at
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.audit.log_keys import LogKey, LogKeys, LogKeyUnusable
from sds.server.events import Events, rfc3339, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.ledger.tree import Pruned
from sds.store.unit_of_work import UnitOfWork

PIECE = 1000
"""Events that one transaction deletes, so that issuance never waits long for it."""
_PAUSE = 0.01
INTERVAL = timedelta(minutes=10)
CHECKPOINTS_KEPT = timedelta(hours=1)
"""All of them; of older ones the last of each hour. Proofs need none of them, remembered ones are checked by roots."""
_HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Plan:
    """What can go: leaves from `first` to before `size`. `held_by` is empty if nothing but their age keeps the rest."""

    first: int
    size: int
    held_by: str

    @property
    def events(self) -> int:
        return self.size - self.first


class Pruner:
    """`sinks` are the names of all that are configured: what one of them has not been given is kept.

    `tick` now and then.
    """

    def __init__(
        self,
        store: Transactions,
        keys: LogKeys,
        events: Events,
        clock: Clock,
        *,
        sinks: Collection[str] = (),
        kept: timedelta | None = None,
        piece: int = PIECE,
    ) -> None:
        """`kept`: for how long events are; None for ever."""
        self._store = store
        self._clock = clock
        self._kept = kept
        self._piece = piece
        self._keys = keys
        self._events = events
        self._sinks = tuple(sinks)
        self._log = get_logger(__name__)

    async def plan(self, before: datetime) -> Plan:
        """What retention would take of events older than `before`. Raises StoreError."""
        return await self._store.read(lambda uow: self._plan(uow, before))

    async def prune(self, before: datetime, actor: Actor, request_id: str) -> tuple[Plan, str]:
        """Take them; with the statement, empty if there was nothing. Raises StoreError, LogKeyUnusable, DamagedTree."""
        key = await self._keys.current()
        plan, statement = await self._store.write(lambda uow: self._state(uow, before, key, actor, request_id))
        if plan.events:
            self._log.info("events of the audit log go by retention", events=plan.events, before=rfc3339(before))
        await self.sweep()
        return plan, statement

    async def tick(self) -> None:
        """What is due by the configuration; also what a process that died has left undone. Logs, and never raises."""
        try:
            await self._store.write(_thin)
            if self._kept is None:
                await self.sweep()
            else:
                await self.prune(self._clock.now() - self._kept, system_actor(), "")
        except (StoreError, LogKeyUnusable, DamagedTree) as error:
            self._log.warning("retention of the audit log could not be done", reason=str(error))

    async def sweep(self) -> int:
        """Delete what is stated to be gone; how many events that were. Raises StoreError."""
        done = 0
        while count := await self._store.write(lambda uow: uow.audit_tree.remove_pruned(self._piece)):
            done += count
            await asyncio.sleep(_PAUSE)
        return done

    def _plan(self, uow: UnitOfWork, before: datetime) -> Plan:
        head, first = uow.audit_tree.head(), uow.audit_tree.pruned()
        delivered = uow.cursors.lowest(self._sinks)
        # The last leaf stays: it says where the tree goes on.
        most = max(first, head.size - 1)
        held_by = ""
        if delivered is not None and delivered < most:
            most = max(first, delivered)
            held_by = "a sink has not been given the rest yet"
        size = max(first, uow.audit_tree.first_leaf_since(before, most))
        return Plan(first, size, held_by if size == most else "")

    def _state(self, uow: UnitOfWork, before: datetime, key: LogKey, actor: Actor, request_id: str) -> tuple[Plan, str]:
        plan = self._plan(uow, before)
        if not plan.events:
            return plan, ""
        root = frontier_at(plan.size, cache(uow.audit_tree.tile)).root()
        pruning = Pruning(key.verifier.name, plan.size, root, before, uow.now)
        statement = signed(pruning.text, key.verifier, key.sign)
        uow.audit_tree.put_pruning(Pruned(plan.size, statement, uow.now))
        details: dict[str, Json] = {
            "before": rfc3339(before),
            "events": plan.events,
            "first_leaf": plan.first,
            "size": plan.size,
            "root": root.hex(),
        }
        target = Target("audit_log", key.verifier.name)
        event = self._events.make(uow.now, "audit.prune", actor, target, request_id=request_id, details=details)
        uow.audit.append(event)
        return plan, statement


def _thin(uow: UnitOfWork) -> int:
    return uow.audit_tree.thin_checkpoints(uow.now - CHECKPOINTS_KEPT, _HOUR)
