"""The audit log's tree: which event is which leaf, the tiles, the checkpoints. None of it is a decision of its own.

What is to be the next leaf is the same for everyone who looks: the settled event with the lowest number that has none.
So two processes that look at once sign trees of which one begins with the other, and of their writes one stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, text

from sds.store.tables import audit_checkpoints, audit_events, audit_leaves, audit_prunings, audit_tiles
from sds.store.times import from_micros, to_micros
from sds.store.tx import Bulk, Tx

_LOCK = text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=0x5D5B << 48)
_LEAVES = Bulk(audit_leaves.insert(), ["leaf", "seq"])


@dataclass(frozen=True, slots=True)
class Head:
    """The tree's end: how many leaves it has, and the number of the event at the last one (0 for none)."""

    size: int
    seq: int


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint as it is stored. What counts is the note; the other fields are an index over it."""

    size: int
    root: bytes
    note: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Addition:
    """What makes the tree longer: the events' numbers in order, the tiles that change, and the checkpoint over all."""

    seqs: Sequence[int]
    tiles: Mapping[tuple[int, int], bytes]
    checkpoint: SignedHead


@dataclass(frozen=True, slots=True)
class Pruned:
    """A signed statement of retention."""

    size: int
    statement: str
    pruned_at: datetime


class Tree:
    """Reads what stands; `extend` is its only way to grow."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def head(self) -> Head:
        order = audit_leaves.c.leaf.desc()
        row = self._tx.first(select(audit_leaves.c.leaf, audit_leaves.c.seq).order_by(order).limit(1))
        return Head(0, 0) if row is None else Head(int(row.leaf) + 1, int(row.seq))

    def tile(self, level: int, number: int) -> bytes:
        """The hashes that a tile has; none where there is no such tile."""
        columns = audit_tiles.c
        found = self._tx.scalar(select(columns.hashes).where(columns.level == level, columns.tile == number))
        return b"" if found is None else bytes(found)

    def tiles(self, level: int, start: int, limit: int) -> Mapping[int, bytes]:
        """Tiles of one level by their numbers, from `start` on."""
        columns = audit_tiles.c
        statement = select(columns.tile, columns.hashes).where(columns.level == level, columns.tile >= start)
        rows = self._tx.rows(statement.order_by(columns.tile).limit(limit))
        return {int(row.tile): bytes(row.hashes) for row in rows}

    def extend(self, head: Head, addition: Addition) -> bool:
        """Add leaves, if the tree's end is still at `head`; else nothing is changed and the answer is False."""
        self._tx.check_writable()
        if self._tx.postgres:
            self._tx.run(_LOCK)  # released by the commit
        if self.head() != head:
            return False
        self._tx.note_many(_LEAVES, list(enumerate(addition.seqs, start=head.size)))
        for (level, number), hashes in sorted(addition.tiles.items()):
            insert = self._tx.insert(audit_tiles).values(level=level, tile=number, hashes=hashes)
            self._tx.note(insert.on_conflict_do_update(index_elements=["level", "tile"], set_={"hashes": hashes}))
        self.put_checkpoint(addition.checkpoint)
        return True

    def put_checkpoint(self, signed: SignedHead) -> None:
        """Store it; one of the same size makes way, as when another key has signed since."""
        values = {"root": signed.root, "note": signed.note, "signed_at": to_micros(signed.signed_at)}
        insert = self._tx.insert(audit_checkpoints).values(size=signed.size, **values)
        self._tx.note(insert.on_conflict_do_update(index_elements=["size"], set_=values))

    def checkpoint(self, size: int | None = None) -> SignedHead | None:
        """The one of that size, or the newest."""
        columns = audit_checkpoints.c
        statement = select(audit_checkpoints).order_by(columns.size.desc()).limit(1)
        row = self._tx.first(statement if size is None else statement.where(columns.size == size))
        return None if row is None else _signed(row)

    def checkpoints(self, *, after: int = 0, before: int | None = None, limit: int = 100) -> tuple[SignedHead, ...]:
        """Those with a size above `after`, ascending; with `before`, the ones next below it, descending."""
        columns = audit_checkpoints.c
        statement = select(audit_checkpoints).where(columns.size > after).limit(limit)
        if before is None:
            rows = self._tx.rows(statement.order_by(columns.size))
        else:
            rows = self._tx.rows(statement.where(columns.size < before).order_by(columns.size.desc()))
        return tuple(map(_signed, rows))

    def thin_checkpoints(self, before: datetime, every: int) -> int:
        """Of those signed earlier than `before`, keep the last in each span of `every` microseconds."""
        columns = audit_checkpoints.c
        old = columns.signed_at < to_micros(before)
        span = columns.signed_at - columns.signed_at % every
        kept = select(func.max(columns.size)).where(old).group_by(span)
        return self._tx.note(delete(audit_checkpoints).where(old, columns.size.not_in(kept))).rowcount

    def leaf_of(self, seq: int) -> int | None:
        """The leaf of an event, or None while it has none."""
        found = self._tx.scalar(select(audit_leaves.c.leaf).where(audit_leaves.c.seq == seq))
        return None if found is None else int(found)

    def leaves_of(self, seqs: Sequence[int]) -> Mapping[int, int]:
        """The leaves of a few events by their numbers; without those that have none."""
        rows = self._tx.rows(select(audit_leaves).where(audit_leaves.c.seq.in_(seqs)))
        return {int(row.seq): int(row.leaf) for row in rows}

    def prunings(self) -> tuple[Pruned, ...]:
        """All statements of retention, oldest first."""
        rows = self._tx.rows(select(audit_prunings).order_by(audit_prunings.c.size))
        return tuple(Pruned(int(row.size), row.statement, from_micros(row.pruned_at)) for row in rows)

    def pruned(self) -> int:
        """The first leaf that retention has left."""
        return int(self._tx.scalar(select(func.max(audit_prunings.c.size))) or 0)

    def first_leaf_since(self, moment: datetime, upto: int) -> int:
        """The first leaf from the kept ones on whose event is not older than `moment`; `upto` if all before it are.

        Events of agents may be older than their neighbours: what comes before the first that is new enough may go.
        """
        columns = audit_leaves.c
        joined = audit_leaves.join(audit_events, columns.seq == audit_events.c.seq)
        statement = (
            select(columns.leaf)
            .select_from(joined)
            .where(columns.leaf < upto, audit_events.c.time >= to_micros(moment))
            .order_by(columns.leaf)
            .limit(1)
        )
        found = self._tx.scalar(statement)
        return upto if found is None else int(found)

    def put_pruning(self, pruned: Pruned) -> None:
        """Needs an audit event in the same transaction."""
        values = {"size": pruned.size, "statement": pruned.statement, "pruned_at": to_micros(pruned.pruned_at)}
        self._tx.change(audit_prunings, self._tx.insert(audit_prunings).values(values))

    def remove_pruned(self, limit: int) -> int:
        """Delete up to `limit` events that a statement says are gone; how many they were. Hashes stay."""
        gone = select(audit_leaves.c.leaf, audit_leaves.c.seq).where(audit_leaves.c.leaf < self.pruned())
        rows = self._tx.rows(gone.order_by(audit_leaves.c.leaf).limit(limit))
        if not rows:
            return 0
        last = rows[-1]
        # By the leaves' own list: a row that was put between them by hand is to be found by verification, not removed.
        seqs = select(audit_leaves.c.seq).where(audit_leaves.c.leaf <= last.leaf)
        self._tx.note(delete(audit_events).where(audit_events.c.seq.in_(seqs)))
        self._tx.note(delete(audit_leaves).where(audit_leaves.c.leaf <= last.leaf))
        return len(rows)


def _signed(row: Row[Any]) -> SignedHead:
    return SignedHead(int(row.size), bytes(row.root), row.note, from_micros(row.signed_at))
