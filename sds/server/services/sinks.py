"""How the audit log's sinks stand."""

from __future__ import annotations

from sds.admin.services.sinks import SinkInfo
from sds.server.audit_sinks.engine import AuditSinks
from sds.server.audit_sinks.watch import SinkStanding


class SinkService:
    """Implements sds.admin.services.sinks.SinkAdmin."""

    def __init__(self, sinks: AuditSinks) -> None:
        self._sinks = sinks

    async def all(self) -> tuple[SinkInfo, ...]:
        kinds = {plan.name: plan.kind for plan in self._sinks.plans}
        _, standings = await self._sinks.watch.read()
        return tuple(_info(standing, kinds[standing.name]) for standing in standings)


def _info(standing: SinkStanding, kind: str) -> SinkInfo:
    return SinkInfo(
        name=standing.name,
        kind=kind,
        delivered_leaf=standing.next_leaf - 1 if standing.next_leaf else None,
        delivered_at=standing.delivered_at,
        lag_events=standing.lag_events,
        lag_seconds=int(standing.lag_seconds),
        problem=standing.problem,
        problem_since=standing.problem_since,
        holder=standing.holder,
    )
