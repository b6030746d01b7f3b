"""What the services share: who acted, and that a change has reached the agents' state before it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sds.admin.services import AdminCall
from sds.audit.event import Actor, ActorKind, AuditEvent, Json, Outcome, Target
from sds.server.events import Events
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")

SETTLE_SECONDS = 1.0
"""The longest that an answer waits for the change to reach this process's watch streams. It stands either way."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Does changes for administrators. `settled` waits until committed changes are in the authorised state."""

    store: Transactions
    events: Events
    settled: Callable[[float], Awaitable[bool]]

    async def change(self, work: Callable[[UnitOfWork], T]) -> T:
        """Commit `work`, and let agents be told before the caller is."""
        value = await self.store.write(work)
        await self.settled(SETTLE_SECONDS)
        return value

    def event(
        self,
        time: datetime,
        call: AdminCall,
        action: str,
        target: Target,
        details: Mapping[str, Json] | None = None,
        *,
        outcome: Outcome = Outcome.SUCCESS,
        reason: str = "",
    ) -> AuditEvent:
        return self.events.make(
            time,
            action,
            actor_of(call),
            target,
            outcome=outcome,
            reason=reason,
            request_id=call.request_id,
            details={"user": call.caller.name, **(details or {})},
        )


def actor_of(call: AdminCall) -> Actor:
    return Actor(ActorKind.ADMIN, call.caller.id, call.caller.address)
