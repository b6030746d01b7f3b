"""Numbers for an overview, remembered for some seconds: many may look at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from ca.authority import AuthorityKind, AuthorityState
from ca.rotation import Blocked
from sds.admin.services import AdminCall, AuthorityAdmin, AuthorityOverview
from sds.admin.services.statistics import AuditHealth, Expiring, Statistics
from sds.server.services.common import Desk
from sds.store.inventory.overview import Lives
from sds.store.unit_of_work import UnitOfWork

REMEMBERED = timedelta(seconds=5)
MINUTES = 60
SILENT_AFTER = timedelta(hours=1)
_M, _H, _D = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SPANS = (
    0 * _M, 5 * _M, 10 * _M, 15 * _M, 20 * _M, 30 * _M, 45 * _M, _H, 90 * _M, 2 * _H, 3 * _H, 4 * _H, 6 * _H, 8 * _H,
    12 * _H, 18 * _H, _D, 36 * _H, 2 * _D, 4 * _D, 7 * _D, 14 * _D, 30 * _D, 90 * _D, 365 * _D,
)  # fmt: skip
"""Where the spans of the expiry timeline begin and end, from now on: finer where certificates are short-lived."""


class Connected(Protocol):
    """What this process knows of agents beyond the store."""

    @property
    def agents_watching(self) -> int: ...


class StatisticsService:
    """Implements sds.admin.services.StatisticsAdmin."""

    def __init__(
        self, desk: Desk, live: Connected, authorities: AuthorityAdmin, monotonic: Callable[[], float]
    ) -> None:
        self._desk = desk
        self._live = live
        self._authorities = authorities
        self._monotonic = monotonic
        self._known: Statistics | None = None
        self._at = 0.0
        self._turn = asyncio.Lock()

    async def overview(self, call: AdminCall) -> Statistics:
        del call  # the same for all who may ask: rights that are limited are refused by the rule
        async with self._turn:  # who comes meanwhile waits for the same answer
            if self._known is None or self._monotonic() - self._at >= REMEMBERED.total_seconds():
                self._known = await self._look()
                self._at = self._monotonic()
            return self._known

    async def _look(self) -> Statistics:
        rotation = rotation_word(await self._authorities.overview(AuthorityKind.X509))
        connected = self._live.agents_watching
        return await self._desk.store.read(lambda uow: _statistics(uow, connected, rotation))


def rotation_word(overview: AuthorityOverview) -> str:
    """``blocked``: something is due that cannot be done. ``waiting``: somebody does not have the next authority yet.

    ``prepared``: everybody has it, and its time has not come. ``steady``: there is no next one.
    """
    if any(isinstance(step, Blocked) for step in overview.due):
        return "blocked"
    for info in overview.authorities:
        if info.authority.state is AuthorityState.PREPARED:
            return "prepared" if info.gate is not None and info.gate.open else "waiting"
    return "steady"


def _statistics(uow: UnitOfWork, connected: int, rotation: str) -> Statistics:
    bounds = tuple(uow.now + span for span in SPANS)
    counts, lives = uow.overview.counts(uow.now - SILENT_AFTER), uow.overview.lives(bounds)
    return Statistics(
        at=uow.now,
        entries=counts.entries,
        identities=lives.identities,
        certificates=lives.certificates,
        agents=counts.agents,
        agents_connected=connected,
        agents_silent=counts.agents_silent,
        agents_banned=counts.agents_banned,
        streams=counts.streams,
        streams_nacked=counts.streams_rejected,
        streams_behind=counts.streams_waiting,
        secrets=counts.secrets,
        secrets_in_trouble=counts.secrets_in_trouble,
        grants=counts.grants,
        issued_a_minute=uow.overview.issued(MINUTES),
        refused_a_minute=uow.overview.refused(MINUTES),
        expiring=_expiring(bounds, lives),
        rotation=rotation,
        audit=_audit(uow),
    )


def _expiring(bounds: tuple[datetime, ...], lives: Lives) -> tuple[Expiring, ...]:
    return tuple(
        Expiring(start, end, count) for start, end, count in zip(bounds[:-1], bounds[1:], lives.expiring, strict=True)
    )


def _audit(uow: UnitOfWork) -> AuditHealth:
    head, checkpoint, sinks = uow.audit_tree.head(), uow.audit_tree.checkpoint(), uow.cursors.all()
    behind = {one.leaf for one in sinks if one.leaf < head.size}
    oldest = min(uow.cursors.times(behind).values(), default=uow.now)
    return AuditHealth(
        size=head.size,
        checkpoint_at=None if checkpoint is None else checkpoint.signed_at,
        events_waiting=uow.overview.events_after(head.seq),
        sinks=len(sinks),
        sinks_in_trouble=sum(1 for one in sinks if one.problem),
        oldest_lag_seconds=max(0, int((uow.now - oldest).total_seconds())),
    )
