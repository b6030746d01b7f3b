"""The audit log as rows, for who proves or copies it: leaves with what the database says about their events."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, or_, select

from sds.store.audit import STORED, conditions, index_of
from sds.store.records import AuditFilter
from sds.store.tables import audit_events, audit_leaves
from sds.store.tx import Tx

_COLUMNS = ("time", "action", "outcome", "actor", "target", "request_id")
NO_FILTER = AuditFilter()


@dataclass(frozen=True, slots=True)
class LogLine:
    """A leaf and its event; `canonical` is None where there is none. `differs` names columns that do not say what it
    does.
    """

    leaf: int
    seq: int
    canonical: bytes | None
    differs: tuple[str, ...] = ()


class Lines:
    """Nothing here is written."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def judged(self, start: int, end: int, limit: int) -> tuple[LogLine, ...]:
        """The first `limit` leaves of [start, end) with each event's columns held against its canonical form."""
        joined = audit_leaves.outerjoin(audit_events, audit_leaves.c.seq == audit_events.c.seq)
        columns = (STORED, *(audit_events.c[name] for name in _COLUMNS))
        statement = select(audit_leaves.c.leaf, audit_leaves.c.seq, *columns).select_from(joined)
        statement = statement.where(audit_leaves.c.leaf >= start, audit_leaves.c.leaf < end)
        found = []
        for row in self._tx.rows(statement.order_by(audit_leaves.c.leaf).limit(limit)):
            leaf, seq, canonical, *stored = tuple(row)
            if canonical is None:
                found.append(LogLine(int(leaf), int(seq), None))
                continue
            raw = bytes(canonical)
            expected = index_of(raw)
            if expected == tuple(stored):
                found.append(LogLine(leaf, seq, raw))
            elif expected is None:
                found.append(LogLine(leaf, seq, raw, ("canonical",)))
            else:
                pairs = zip(_COLUMNS, expected, stored, strict=True)
                found.append(LogLine(leaf, seq, raw, tuple(name for name, ours, theirs in pairs if ours != theirs)))
        return tuple(found)

    def placed(self, start: int, end: int) -> tuple[LogLine, ...]:
        """All leaves of [start, end) that there are, with their events where these are."""
        joined = audit_leaves.outerjoin(audit_events, audit_leaves.c.seq == audit_events.c.seq)
        statement = select(audit_leaves.c.leaf, audit_leaves.c.seq, STORED).select_from(joined)
        rows = self._tx.rows(statement.where(audit_leaves.c.leaf >= start, audit_leaves.c.leaf < end))
        return tuple(
            LogLine(row.leaf, row.seq, None if row.canonical is None else bytes(row.canonical)) for row in rows
        )

    def copied(self, start: int, end: int, limit: int, filters: AuditFilter = NO_FILTER) -> tuple[LogLine, ...]:
        """The first `limit` leaves of [start, end) whose events match."""
        joined = audit_leaves.join(audit_events, audit_leaves.c.seq == audit_events.c.seq)
        statement = select(audit_leaves.c.leaf, audit_leaves.c.seq, STORED).select_from(joined)
        statement = statement.where(audit_leaves.c.leaf >= start, audit_leaves.c.leaf < end, *conditions(filters))
        rows = self._tx.rows(statement.order_by(audit_leaves.c.leaf).limit(limit))
        return tuple(LogLine(int(row.leaf), int(row.seq), bytes(row.canonical)) for row in rows)

    def unplaced(self, upto: int, limit: int) -> tuple[int, ...]:
        """Numbers of events up to number `upto` that are no leaf: there are none unless by hand."""
        joined = audit_events.outerjoin(audit_leaves, audit_leaves.c.seq == audit_events.c.seq)
        statement = select(audit_events.c.seq).select_from(joined)
        statement = statement.where(audit_events.c.seq <= upto, audit_leaves.c.leaf.is_(None))
        rows = self._tx.rows(statement.order_by(audit_events.c.seq).limit(limit))
        return tuple(int(row.seq) for row in rows)

    def misplaced(self, upto: int, limit: int) -> tuple[tuple[int, int], ...]:
        """Leaves below the first, or that stand for an event after number `upto` though their place is before it."""
        leaves = audit_leaves.c
        last = select(func.max(leaves.leaf)).where(leaves.seq == upto).scalar_subquery()
        wrong = or_(leaves.leaf < 0, (leaves.seq > upto) & (leaves.leaf <= last))
        rows = self._tx.rows(select(leaves.leaf, leaves.seq).where(wrong).order_by(leaves.leaf).limit(limit))
        return tuple((int(row.leaf), int(row.seq)) for row in rows)
