"""How far each sink has been told of the audit log, and which server process tells it. Bookkeeping, so not audited.

One process serves a sink at a time: it holds the cursor until a moment that it moves on as it works. Whoever finds the
moment passed takes over where the cursor stands. What was handed over and not yet noted is then handed over again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, or_, select, update

from sds.store.audit import STORED
from sds.store.codec import chunks
from sds.store.tables import audit_checkpoints, audit_cursors, audit_events, audit_leaves, audit_prunings
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx


@dataclass(frozen=True, slots=True)
class SinkCursor:
    """`leaf` is the next to be handed over, `checkpoint` the size of the last one that was (0: none yet).

    `holder` is empty, or the server process that serves the sink until `held_until`. `problem` is safe to show.
    """

    sink: str
    leaf: int
    checkpoint: int
    holder: str
    held_until: datetime
    delivered_at: datetime | None
    problem: str
    problem_since: datetime | None


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """An event in its place in the tree. `canonical` is None where the event is gone though nothing was pruned."""

    leaf: int
    sequence: int
    canonical: bytes | None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed note, and the size of the tree that it is about."""

    size: int
    note: str


@dataclass(frozen=True, slots=True)
class Heads:
    """Where the log stands: `leaves` is the number that the next leaf gets, `pruned` the first that is kept."""

    leaves: int
    checkpoint: StoredCheckpoint | None
    pruned: int


class Cursors:
    """Rows by sink."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def all(self) -> tuple[SinkCursor, ...]:
        """Also those of sinks that are configured no more, in order of names."""
        return tuple(map(_cursor, self._tx.rows(select(audit_cursors).order_by(audit_cursors.c.sink))))

    def claim(self, sink: str, holder: str, until: datetime, *, newest: bool = False) -> SinkCursor | None:
        """Hold the sink's cursor; None while another process does.

        A sink that is new begins with the first leaf that is kept, or with what comes from now on (`newest`).
        """
        heads = self.heads()
        start, checkpoint = heads.pruned, 0
        if newest:
            start, checkpoint = heads.leaves, heads.checkpoint.size if heads.checkpoint else 0
        now = to_micros(self._tx.now)
        new = self._tx.insert(audit_cursors).values(
            sink=sink, leaf=start, checkpoint=checkpoint, holder="", held_until=0, problem=""
        )
        self._tx.note(new.on_conflict_do_nothing(index_elements=["sink"]))
        mine = or_(audit_cursors.c.holder == holder, audit_cursors.c.held_until < now)
        taken = update(audit_cursors).where(audit_cursors.c.sink == sink, mine)
        if not self._tx.note(taken.values(holder=holder, held_until=to_micros(until))).rowcount:
            return None
        row = self._tx.first(select(audit_cursors).where(audit_cursors.c.sink == sink))
        return None if row is None else _cursor(row)

    def advance(self, sink: str, holder: str, until: datetime, leaf: int, checkpoint: int) -> bool:
        """Everything before `leaf`, and the checkpoint of that size, has been handed over. False: another holds it."""
        values: dict[str, Any] = {"leaf": leaf, "checkpoint": checkpoint, "held_until": to_micros(until)}
        values |= {"delivered_at": to_micros(self._tx.now), "problem": "", "problem_since": None}
        return self._change(sink, holder, values, audit_cursors.c.leaf <= leaf)

    def fail(self, sink: str, holder: str, problem: str) -> bool:
        """Note what stands in the way, since now if nothing did before. Whether it is news, and the cursor is held."""
        since = func.coalesce(audit_cursors.c.problem_since, to_micros(self._tx.now))
        before = self._tx.first(select(audit_cursors.c.problem).where(audit_cursors.c.sink == sink))
        noted = self._change(sink, holder, {"problem": problem, "problem_since": since})
        return noted and before is not None and not before.problem

    def release(self, sink: str, holder: str) -> None:
        """Let another process have it."""
        self._change(sink, holder, {"holder": "", "held_until": 0})

    def lowest(self, sinks: Collection[str]) -> int | None:
        """The first leaf that one of these sinks has not been given; None for no sinks.

        Retention keeps it and what follows. A sink that has no cursor yet has been given nothing.
        """
        found = {row.sink: int(row.leaf) for row in self._of(sinks)}
        return min((found.get(sink, 0) for sink in sinks), default=None)

    def heads(self) -> Heads:
        leaves = self._tx.scalar(select(func.max(audit_leaves.c.leaf)))
        pruned = int(self._tx.scalar(select(func.max(audit_prunings.c.size))) or 0)
        row = self._tx.first(select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc()).limit(1))
        newest = None if row is None else StoredCheckpoint(int(row.size), row.note)
        return Heads(max(pruned, 0 if leaves is None else int(leaves) + 1), newest, pruned)

    def leaves(self, start: int, limit: int) -> tuple[StoredLeaf, ...]:
        """The first `limit` leaves from number `start` on."""
        joined = audit_leaves.outerjoin(audit_events, audit_leaves.c.seq == audit_events.c.seq)
        statement = (
            select(audit_leaves.c.leaf, audit_leaves.c.seq, STORED)
            .select_from(joined)
            .where(audit_leaves.c.leaf >= start)
            .order_by(audit_leaves.c.leaf)
            .limit(limit)
        )
        return tuple(StoredLeaf(int(row.leaf), int(row.seq), row.canonical) for row in self._tx.rows(statement))

    def checkpoints(self, after: int, upto: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        """Of those with a size above `after` and at most `upto`, the first `limit`."""
        sizes = audit_checkpoints.c.size
        statement = select(sizes, audit_checkpoints.c.note).where(sizes > after, sizes <= upto)
        rows = self._tx.rows(statement.order_by(sizes).limit(limit))
        return tuple(StoredCheckpoint(int(row.size), row.note) for row in rows)

    def times(self, leaves: Collection[int]) -> Mapping[int, datetime]:
        """When the events at these leaves happened; those that are not there are left out. Of a few leaves."""
        joined = audit_leaves.join(audit_events, audit_leaves.c.seq == audit_events.c.seq)
        statement = select(audit_leaves.c.leaf, audit_events.c.time).select_from(joined)
        rows = self._tx.rows(statement.where(audit_leaves.c.leaf.in_(leaves)))
        return {int(row.leaf): from_micros(row.time) for row in rows}

    def _of(self, sinks: Collection[str]) -> Iterable[Row[Any]]:
        for names in chunks(sinks):
            statement = select(audit_cursors.c.sink, audit_cursors.c.leaf)
            yield from self._tx.rows(statement.where(audit_cursors.c.sink.in_(names)))

    def _change(self, sink: str, holder: str, values: Mapping[str, Any], *more: Any) -> bool:
        held = (audit_cursors.c.sink == sink, audit_cursors.c.holder == holder)
        return self._tx.note(update(audit_cursors).where(*held, *more).values(**values)).rowcount > 0


def _cursor(row: Row[Any]) -> SinkCursor:
    return SinkCursor(
        sink=row.sink,
        leaf=int(row.leaf),
        checkpoint=int(row.checkpoint),
        holder=row.holder,
        held_until=from_micros(row.held_until),
        delivered_at=from_micros_or_none(row.delivered_at),
        problem=row.problem,
        problem_since=from_micros_or_none(row.problem_since),
    )
