"""Refusals at the door, audited so that a flood of them cannot fill the database.

Each is counted. Each is an event of its own while its source stays within a rate; beyond that they are summed up and
written as one event a period. A refusal stands whether or not its event could be written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sds.audit.event import Actor, AuditEvent, Json, Outcome, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.net.limits import Rate, TokenBuckets, address_key
from sds.server.coalescer import Coalescer, Overloaded
from sds.server.events import Events
from sds.store.errors import StoreError

PER_SOURCE = Rate(per_second=0.1, burst=10)
ALTOGETHER = Rate(per_second=20.0, burst=200)
_MAX_SUMS = 1024
_MAX_BATCH = 256
_MAX_WAITING = 4096


@dataclass(frozen=True, slots=True)
class Refusal:
    """Who was refused what, and why. `reason` is one of few texts and holds nothing that the caller sent."""

    action: str
    actor: Actor
    target: Target
    reason: str
    request_id: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)
    source: str = ""
    """What a flood is bounded by, if the caller is known for sure; else it is the address."""


class RefusalCounter(Protocol):
    def refused(self, action: str) -> None: ...


class RefusalLog:
    """`append` writes events in a transaction of its own; it may raise StoreError."""

    def __init__(
        self,
        append: Callable[[Sequence[AuditEvent]], Awaitable[None]],
        counter: RefusalCounter,
        clock: Clock,
        events: Events,
    ) -> None:
        self._append = append
        self._counter = counter
        self._clock = clock
        self._events = events
        self._writer: Coalescer[AuditEvent, None] = Coalescer(
            self._write, max_batch=_MAX_BATCH, max_waiting=_MAX_WAITING, workers=1
        )
        self._sources = TokenBuckets(PER_SOURCE)
        self._all = TokenBuckets(ALTOGETHER, max_keys=1)
        self._sums: dict[tuple[str, str], tuple[Refusal, int]] = {}
        self._log = get_logger(__name__)

    async def note(self, refusal: Refusal) -> None:
        """Count and audit one refusal; returns when its event is durable, or was summed up. Never raises."""
        self._counter.refused(refusal.action)
        now = self._clock.monotonic()
        origin = refusal.source or address_key(refusal.actor.address) or refusal.actor.id
        source = (refusal.action, origin)
        if self._sources.take(source, now) and self._all.take("", now):
            self._warn(refusal, reason=refusal.reason)
            await self._submit(self._event(refusal))
        elif source in self._sums or len(self._sums) < _MAX_SUMS:
            first, count = self._sums.get(source, (refusal, 0))
            self._sums[source] = (first, count + 1)

    async def flush(self) -> None:
        """Write the sums of what was too much to write one by one."""
        sums, self._sums = self._sums, {}
        for refusal, count in sums.values():
            self._warn(refusal, repeats=count)
            details = {**refusal.details, "repeats": count}
            await self._submit(self._event(replace(refusal, details=details, request_id="")))

    async def close(self) -> None:
        await self.flush()
        await self._writer.close()

    def _warn(self, refusal: Refusal, **facts: object) -> None:
        actor = refusal.actor
        self._log.warning(refusal.action, outcome="refused", actor=actor.id, address=actor.address, **facts)

    def _event(self, refusal: Refusal) -> AuditEvent:
        return self._events.make(
            self._clock.now(),
            refusal.action,
            refusal.actor,
            refusal.target,
            outcome=Outcome.REFUSED,
            reason=refusal.reason,
            request_id=refusal.request_id,
            details=refusal.details,
        )

    async def _submit(self, event: AuditEvent) -> None:
        try:
            await self._writer.submit([event])
        except (StoreError, Overloaded) as error:
            self._log.error("audit event lost", action=event.action, reason=event.reason, problem=str(error))

    async def _write(self, events: Sequence[AuditEvent]) -> Sequence[None]:
        await self._append(events)
        return [None] * len(events)
