"""Decisions to revoke. They are never deleted: lifting one is a second fact about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, delete, insert, select, tuple_, update

from ca.revocation import Reason
from sds.store.changes import Changes
from sds.store.codec import make_cursor, read_cursor
from sds.store.errors import NotFound
from sds.store.records import ChangeKind, Page
from sds.store.revocation.records import BlockKind, BlockRecord
from sds.store.tables import blocks
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from sds.store.tx import Tx


class Blocks:
    """Every change tells the feed and needs an audit event."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    def add(self, block: BlockRecord) -> None:
        """Raises ConstraintViolated if its id is taken."""
        self._changes.lock()
        row = {
            "id": block.id,
            "kind": block.kind.value,
            "value": block.value,
            "reason": block.reason.value,
            "incident": block.incident,
            "created_at": to_micros(block.created_at),
            "created_by": block.created_by,
            "lifted_at": to_micros_or_none(block.lifted_at),
            "lifted_by": block.lifted_by,
        }
        self._tx.change(blocks, insert(blocks).values(row))
        self._changes.append(ChangeKind.BLOCK, block.id)

    def put(self, block: BlockRecord) -> None:
        """As it was once known to be, in place of what stands."""
        self._changes.lock()
        self._tx.change(blocks, delete(blocks).where(blocks.c.id == block.id))
        self.add(block)

    def get(self, block_id: str) -> BlockRecord:
        """Raises NotFound."""
        row = self._tx.first(select(blocks).where(blocks.c.id == block_id))
        if row is None:
            raise NotFound("block", block_id)
        return _from_row(row)

    def lift(self, block_id: str, by: str) -> BlockRecord:
        """Idempotent: the first time and name stand. Raises NotFound."""
        self._changes.lock()
        statement = update(blocks).where(blocks.c.id == block_id, blocks.c.lifted_at.is_(None))
        done = self._tx.note(statement.values(lifted_at=to_micros(self._tx.now), lifted_by=by)).rowcount
        if done:
            self._tx.unaudited.add(blocks.name)
            self._changes.append(ChangeKind.BLOCK, block_id)
        return self.get(block_id)

    def standing(self) -> tuple[BlockRecord, ...]:
        """Every block that was not lifted, oldest first."""
        return self._select(select(blocks).where(blocks.c.lifted_at.is_(None)))

    def all(self) -> tuple[BlockRecord, ...]:
        """Every block, oldest first."""
        return self._select(select(blocks))

    def among(self, names: Iterable[tuple[BlockKind, str]]) -> frozenset[tuple[BlockKind, str]]:
        """Which of these a block stands against."""
        wanted = [(kind.value, value) for kind, value in names]
        found: set[tuple[BlockKind, str]] = set()
        for at in range(0, len(wanted), 200):
            statement = select(blocks.c.kind, blocks.c.value).where(
                tuple_(blocks.c.kind, blocks.c.value).in_(wanted[at : at + 200]), blocks.c.lifted_at.is_(None)
            )
            found.update((BlockKind(row.kind), row.value) for row in self._tx.rows(statement))
        return frozenset(found)

    def standing_against(self, kind: BlockKind, value: str, reason: Reason) -> BlockRecord | None:
        """The oldest block that stands against this for this reason, or None."""
        found = self._select(
            select(blocks).where(
                blocks.c.kind == kind.value,
                blocks.c.value == value,
                blocks.c.reason == reason.value,
                blocks.c.lifted_at.is_(None),
            )
        )
        return found[0] if found else None

    def list(
        self,
        *,
        kind: BlockKind | None = None,
        standing: bool | None = None,
        oldest_first: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[BlockRecord]:
        """Newest first unless it is said otherwise. Raises InvalidCursor."""
        order = (blocks.c.created_at, blocks.c.id)
        by = [column.asc() if oldest_first else column.desc() for column in order]
        statement = select(blocks).order_by(*by).limit(limit + 1)
        if kind is not None:
            statement = statement.where(blocks.c.kind == kind.value)
        if standing is not None:
            statement = statement.where(blocks.c.lifted_at.is_(None) if standing else blocks.c.lifted_at.is_not(None))
        if cursor is not None:
            place, after = tuple_(*order), read_cursor(cursor, int, str)
            statement = statement.where(place > after if oldest_first else place < after)
        rows = self._tx.rows(statement)
        found = tuple(map(_from_row, rows[:limit]))
        return Page(found, make_cursor(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None)

    def _select(self, statement: Any) -> tuple[BlockRecord, ...]:
        return tuple(map(_from_row, self._tx.rows(statement.order_by(blocks.c.created_at, blocks.c.id))))


def _from_row(row: Row[Any]) -> BlockRecord:
    return BlockRecord(
        id=row.id,
        kind=BlockKind(row.kind),
        value=row.value,
        reason=Reason(row.reason),
        incident=row.incident,
        created_at=from_micros(row.created_at),
        created_by=row.created_by,
        lifted_at=from_micros_or_none(row.lifted_at),
        lifted_by=row.lifted_by,
    )
