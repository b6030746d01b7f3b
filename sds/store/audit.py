"""The audit log's table.

Appending must not serialise issuance, so on PostgreSQL numbers may commit out of order here: 8 can be visible while 7
is still on its way. A reader that remembers places must then not be shown 8 yet. Each appending transaction holds a
*shared* advisory lock (which nobody waits for) whose key is a number below all that it is going to draw; `tail` reads
the newest number drawn, then the lowest of those locks, and only then takes its snapshot: everything up to the lower
of the two has either committed, and is seen, or never will. Transaction ids (xmin horizons) would not do: the order in
which transactions draw their ids is not the order in which they draw numbers, and stored ids mean nothing after a
dump is restored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, text

from sds.audit.canonical import canonical_bytes, parse_event
from sds.audit.event import AuditEvent
from sds.store.records import AuditFilter, StoredEvent
from sds.store.tables import audit_events, storable
from sds.store.times import to_micros
from sds.store.tx import Bulk, Tx

_INSERT = Bulk(audit_events.insert(), ["canonical", "time", "action", "outcome", "actor", "target"])
_OUTCOME = 3  # its place in a row of _INSERT
_NO_FILTER = AuditFilter()
MAX_INDEXED = 512  # characters; PostgreSQL refuses index entries beyond 2704 bytes. The event itself has all of it.

_LOCK_SPACE = 0x5D5A << 48  # the upper 16 bits of the advisory lock's key; the lower 48 hold the number
_ANNOUNCE = text(
    "SELECT pg_advisory_xact_lock_shared(:space + (SELECT last_value - 1 FROM audit_events_seq_seq))"
).bindparams(space=_LOCK_SPACE)
_NEWEST = text("SELECT last_value FROM audit_events_seq_seq")
_LOWEST_LOCK = text(
    """SELECT min((classid::bigint << 32 | objid::bigint) - :space) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = :tag
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
).bindparams(space=_LOCK_SPACE, tag=_LOCK_SPACE >> 48)
_OWN_SNAPSHOTS = text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")


class Audit:
    """Events of this transaction are collected and written at its end, in order."""

    __slots__ = ("_pending", "_tx")

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._pending: list[tuple[object, ...]] = []

    def append(self, event: AuditEvent) -> None:
        """Write `event` with this transaction. Raises sds.audit.canonical.NotCanonical."""
        self._pending.append(
            (
                canonical_bytes(event),
                to_micros(event.time),
                storable(event.action),
                str(event.outcome),
                storable(event.actor.id)[:MAX_INDEXED],
                storable(event.target.id)[:MAX_INDEXED],
            )
        )

    def append_all(self, events: Iterable[AuditEvent]) -> None:
        for event in events:
            self.append(event)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The outcome of each event that this transaction appends, for metrics."""
        return tuple(str(row[_OUTCOME]) for row in self._pending)

    def flush(self) -> None:
        """Write what was collected. Called by the unit of work."""
        if not self._pending:
            return
        if self._tx.postgres:
            self._tx.scalar(_ANNOUNCE)
        self._tx.note_many(_INSERT, self._pending)
        self._pending.clear()
        self._tx.audited = True

    def tail(self, after: int | None, limit: int = 100, filters: AuditFilter = _NO_FILTER) -> tuple[StoredEvent, ...]:
        """The first `limit` events after place `after`, or the newest `limit` for None; ascending either way.

        Going on from the last place returned never misses an event. On PostgreSQL this must be the first thing its
        unit of work does, because the horizon has to be known before the snapshot is taken.
        """
        statement = select(audit_events.c.seq, audit_events.c.canonical).where(*_conditions(filters)).limit(limit)
        if self._tx.postgres:
            statement = statement.where(audit_events.c.seq <= self._settled())
        if after is None:
            rows = self._tx.rows(statement.order_by(audit_events.c.seq.desc()))[::-1]
        else:
            rows = self._tx.rows(statement.where(audit_events.c.seq > after).order_by(audit_events.c.seq))
        return tuple(map(_from_row, rows))

    def count(self) -> int:
        """How many events there are. Scans the table."""
        return int(self._tx.scalar(select(func.count()).select_from(audit_events)))

    def _settled(self) -> int:
        """Up to here every number has its event or never will."""
        self._tx.run(_OWN_SNAPSHOTS)
        newest = int(self._tx.scalar(_NEWEST))
        lowest = self._tx.scalar(_LOWEST_LOCK)
        return newest if lowest is None else min(newest, int(lowest))


def _conditions(filters: AuditFilter) -> list[ColumnElement[bool]]:
    columns = audit_events.c
    found: list[ColumnElement[bool]] = []
    if filters.action is not None and filters.action.endswith("."):
        # A range that means the same on both databases: "/" follows "." in bytewise order.
        found += [columns.action >= filters.action, columns.action < filters.action[:-1] + "/"]
    elif filters.action is not None:
        found.append(columns.action == filters.action)
    if filters.outcome is not None:
        found.append(columns.outcome == filters.outcome)
    if filters.actor is not None:
        found.append(columns.actor == filters.actor[:MAX_INDEXED])
    if filters.target is not None:
        found.append(columns.target == filters.target[:MAX_INDEXED])
    if filters.since is not None:
        found.append(columns.time >= to_micros(filters.since))
    return found


def _from_row(row: Row[Any]) -> StoredEvent:
    return StoredEvent(row.seq, parse_event(row.canonical), row.canonical)
