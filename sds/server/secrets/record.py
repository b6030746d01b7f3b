"""Which value went to whom: durable before the value leaves. Streams that wait at one moment share a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sds.audit.event import Actor, AuditEvent, Target
from sds.clock import Clock
from sds.server.coalescer import Coalescer
from sds.server.events import Events
from sds.server.secrets.news import Delivery
from sds.server.transactions import Transactions

MAX_IDS = 100
"""SPIFFE IDs in one event; more make more events."""
_MAX_BATCH = 512
_MAX_WAITING = 50_000


class DeliveryRecord:
    """Writes `secret.deliver`. What cannot be written must not be sent."""

    def __init__(self, store: Transactions, events: Events, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._writer: Coalescer[AuditEvent, None] = Coalescer(
            self._write, max_batch=_MAX_BATCH, max_waiting=_MAX_WAITING, workers=2
        )

    async def write(self, deliveries: Sequence[Delivery], actor: Actor, request_id: str) -> None:
        """Returns when it is durable. Raises StoreError, Overloaded."""
        await self._writer.submit([event for one in deliveries for event in self._of(one, actor, request_id)])

    async def close(self) -> None:
        await self._writer.close()

    def _of(self, delivery: Delivery, actor: Actor, request_id: str) -> list[AuditEvent]:
        """One event for each agent, secret and version, with the identities that are given it."""
        now, secret = self._clock.now(), delivery.secret
        ids = sorted({str(entry.spiffe_id) for entry in delivery.entries})
        return [
            self._events.make(
                now,
                "secret.deliver",
                actor,
                Target("secret", secret.id),
                request_id=request_id,
                details={
                    "name": secret.name,
                    "version": delivery.held.version,
                    "spiffe_ids": tuple(ids[start : start + MAX_IDS]),
                },
            )
            for start in range(0, len(ids), MAX_IDS)
        ]

    async def _write(self, events: Sequence[AuditEvent]) -> Sequence[None]:
        await self._store.write(lambda uow: uow.audit.append_all(events))
        return [None] * len(events)
