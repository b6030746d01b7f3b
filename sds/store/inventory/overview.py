"""Numbers over whole tables, each by an index, for an overview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, case, func, select

from sds.store.tables import agents, audit_events, certificates, entries, grants, secrets, streams
from sds.store.tables.delivery import NEVER
from sds.store.times import to_micros
from sds.store.tx import Tx

_MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows as they stand. `agents_silent` leaves banned ones out."""

    entries: int
    agents: int
    agents_banned: int
    agents_silent: int
    streams: int
    streams_rejected: int
    streams_waiting: int
    secrets: int
    secrets_in_trouble: int
    grants: int


@dataclass(frozen=True, slots=True)
class Lives:
    """Unexpired certificates, intents included, and of how many identities. `expiring`: of how many identities the
    newest one ends within each span.
    """

    certificates: int
    identities: int
    expiring: tuple[int, ...]


class Overview:
    """Only reads."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def counts(self, silent_since: datetime) -> Counts:
        """`silent_since`: agents that were not heard of from then on are silent."""
        heard = func.coalesce(agents.c.last_seen, agents.c.attested_at)
        silent = and_(agents.c.banned_at.is_(None), heard < to_micros(silent_since))
        return Counts(
            entries=self._count(entries),
            agents=self._count(agents),
            agents_banned=self._count(agents, agents.c.banned_at.is_not(None)),
            agents_silent=self._count(agents, silent),
            streams=self._count(streams),
            streams_rejected=self._count(streams, streams.c.rejected == 1),
            streams_waiting=self._count(streams, streams.c.waiting_since < NEVER),
            secrets=self._count(secrets),
            secrets_in_trouble=self._count(secrets, secrets.c.problem != ""),
            grants=self._count(grants),
        )

    def lives(self, bounds: Sequence[datetime]) -> Lives:
        """Spans lie between each two neighbours of `bounds`, of which the first one is now."""
        now = to_micros(self._tx.now)
        newest = (
            select(func.max(certificates.c.not_after).label("end"), func.count().label("number"))
            .where(certificates.c.not_after >= now)
            .group_by(certificates.c.spiffe_id)
            .subquery()
        )
        spans = [
            func.sum(case((and_(newest.c.end >= to_micros(start), newest.c.end < to_micros(end)), 1), else_=0))
            for start, end in pairwise(bounds)
        ]
        columns = [func.sum(newest.c.number), func.count(), *spans]
        row = self._tx.first(select(*(column.label(f"n{at}") for at, column in enumerate(columns))))
        certificates_now, identities, *expiring = (int(value or 0) for value in row or [0] * len(columns))
        return Lives(certificates_now, identities, tuple(expiring))

    def issued(self, minutes: int) -> tuple[int, ...]:
        """Certificates decided on in each of the last so many minutes, oldest first."""
        return self._a_minute(certificates, certificates.c.requested_at, minutes)

    def refused(self, minutes: int) -> tuple[int, ...]:
        """Refusals in the audit log, likewise."""
        return self._a_minute(audit_events, audit_events.c.time, minutes, audit_events.c.outcome == "refused")

    def events_after(self, seq: int) -> int:
        """Audit events with a higher number."""
        return self._count(audit_events, audit_events.c.seq > seq)

    def versions(self) -> Mapping[str, int]:
        """How many agents run which version."""
        rows = self._tx.rows(select(agents.c.version, func.count().label("number")).group_by(agents.c.version))
        return {row.version: int(row.number) for row in rows}

    def _a_minute(
        self, table: Table, column: ColumnElement[Any], minutes: int, *conditions: ColumnElement[bool]
    ) -> tuple[int, ...]:
        now = to_micros(self._tx.now)
        start = to_micros(self._tx.now - timedelta(minutes=minutes))
        minute = (column - start) // _MINUTE
        statement = select(minute.label("minute"), func.count().label("number")).select_from(table)
        rows = self._tx.rows(statement.where(column >= start, column < now, *conditions).group_by("minute"))
        found = {int(row.minute): int(row.number) for row in rows}
        return tuple(found.get(number, 0) for number in range(minutes))

    def _count(self, table: Table, *conditions: ColumnElement[bool]) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(table).where(*conditions)))
