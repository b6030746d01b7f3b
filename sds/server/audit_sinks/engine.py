"""All sinks of this server, and what is known of the log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sds.server.audit_sinks.feeder import Feeder, SinkPlan
from sds.server.audit_sinks.watch import LedgerWatch


@dataclass(frozen=True, slots=True)
class AuditSinks:
    """`feeders` in the order of `plans`."""

    plans: Sequence[SinkPlan]
    feeders: Sequence[Feeder]
    watch: LedgerWatch

    @property
    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Each runs for as long as the server does."""
        named = zip(self.plans, self.feeders, strict=True)
        return {"audit log": self.watch.run} | {f"sink {plan.name}": feeder.run for plan, feeder in named}

    async def close(self) -> None:
        """Once the loops have ended, and before the store is closed."""
        await asyncio.gather(*(feeder.close() for feeder in self.feeders))
