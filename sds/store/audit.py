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

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Row, cast, func, select, text

from sds.audit.canonical import NotCanonical, canonical_bytes, parse_event
from sds.audit.event import AuditEvent
from sds.store.records import AuditFilter, StoredEvent
from sds.store.tables import audit_events, storable
from sds.store.times import to_micros
from sds.store.tx import Bulk, Tx

_INSERT = Bulk(audit_events.insert(), ["canonical", "time", "action", "outcome", "actor", "target", "request_id"])
_OUTCOME = 3  # its place in a row of _INSERT
_NO_FILTER = AuditFilter()
MAX_INDEXED = 512  # characters; PostgreSQL refuses index entries beyond 2704 bytes. The event itself has all of it.

STORED = cast(audit_events.c.canonical, LargeBinary).label("canonical")
"""The bytes of an event, whatever stands there: by hand SQLite lets a text or a number into that column."""

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
        self._pending.append((canonical_bytes(event), *_index(event)))

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
        unit of work does, because the horizon has to be known before the snapshot is taken. What was altered by hand is
        among them.
        """
        number = audit_events.c.seq
        # Numbers first: where an index finds them, the events themselves are read for one page alone.
        chosen = select(number).where(*conditions(filters)).limit(limit)
        if self._tx.postgres:
            chosen = chosen.where(number <= self._settled())
        chosen = chosen.order_by(number.desc()) if after is None else chosen.where(number > after).order_by(number)
        statement = select(number, STORED).where(number.in_(chosen)).order_by(number)
        return tuple(map(_from_row, self._tx.rows(statement)))

    def get(self, seq: int) -> StoredEvent | None:
        """One event, or None."""
        row = self._tx.first(select(audit_events.c.seq, STORED).where(audit_events.c.seq == seq))
        return None if row is None else _from_row(row)

    def newest(self) -> int:
        """The highest number of an event that can be seen; those below it may not all be yet."""
        return int(self._tx.scalar(select(func.max(audit_events.c.seq))) or 0)

    def settled_after(self, seq: int, limit: int) -> tuple[tuple[int, bytes], ...]:
        """Numbers and bytes of the first `limit` events after `seq` before which no other can appear any more.

        On PostgreSQL it must be the first thing its unit of work does, as with `tail`.
        """
        number = audit_events.c.seq
        statement = select(number, STORED).where(number > seq).order_by(number).limit(limit)
        if self._tx.postgres:
            statement = statement.where(number <= self._settled())
        return tuple((int(row.seq), bytes(row.canonical)) for row in self._tx.rows(statement))

    def count(self) -> int:
        """How many events there are. Scans the table."""
        return int(self._tx.scalar(select(func.count()).select_from(audit_events)))

    def _settled(self) -> int:
        """Up to here every number has its event or never will."""
        self._tx.run(_OWN_SNAPSHOTS)
        newest = int(self._tx.scalar(_NEWEST))
        lowest = self._tx.scalar(_LOWEST_LOCK)
        return newest if lowest is None else min(newest, int(lowest))


def index_of(canonical: bytes) -> tuple[object, ...] | None:
    """What the columns time, action, outcome, actor, target and request_id say of these bytes; None if they are none
    of ours. Asked for millions of events, so that it reads no more of them than that.
    """
    try:
        event = json.loads(canonical)
        return (
            to_micros(datetime.fromisoformat(event["time"])),
            storable(event["action"]),
            event["outcome"],
            storable(event["actor"]["id"])[:MAX_INDEXED],
            storable(event["target"]["id"])[:MAX_INDEXED],
            storable(event["request_id"])[:MAX_INDEXED],
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _index(event: AuditEvent) -> tuple[object, ...]:
    return (
        to_micros(event.time),
        storable(event.action),
        str(event.outcome),
        storable(event.actor.id)[:MAX_INDEXED],
        storable(event.target.id)[:MAX_INDEXED],
        storable(event.request_id)[:MAX_INDEXED],
    )


def conditions(filters: AuditFilter) -> list[ColumnElement[bool]]:
    """The filters as an SQL condition on audit_events."""
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
    if filters.until is not None:
        found.append(columns.time < to_micros(filters.until))
    if filters.request_id is not None:
        found += [columns.request_id == filters.request_id[:MAX_INDEXED], columns.request_id != ""]
    if filters.before is not None:
        found.append(columns.seq < filters.before)
    return found


def _from_row(row: Row[Any]) -> StoredEvent:
    canonical = bytes(row.canonical)
    try:
        return StoredEvent(row.seq, parse_event(canonical), canonical)
    except NotCanonical as altered:
        return StoredEvent(row.seq, altered, canonical)
