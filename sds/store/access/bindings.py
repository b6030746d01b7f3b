"""Role bindings."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, tuple_

from sds.store.access.columns import of_right, right
from sds.store.access.records import BindingRecord
from sds.store.codec import make_cursor, read_cursor
from sds.store.errors import NotFound
from sds.store.records import Page
from sds.store.tables.access import role_bindings as table
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from sds.store.tx import Tx


class RoleBindings:
    """Every change needs an audit event."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def create(self, binding: BindingRecord) -> None:
        row = {
            "id": binding.id,
            "subject": binding.subject,
            **of_right(binding.right),
            "created_at": to_micros(binding.created_at),
            "created_by": binding.created_by,
            "expires_at": to_micros_or_none(binding.expires_at),
        }
        self._tx.change(table, insert(table).values(row))

    def get(self, binding_id: str) -> BindingRecord:
        """Raises NotFound."""
        row = self._tx.first(select(table).where(table.c.id == binding_id))
        if row is None:
            raise NotFound("role binding", binding_id)
        return _binding(row)

    def delete(self, binding_id: str) -> BindingRecord:
        """Raises NotFound."""
        found = self.get(binding_id)
        self._tx.change(table, delete(table).where(table.c.id == binding_id))
        return found

    def of(self, subjects: Collection[str]) -> tuple[BindingRecord, ...]:
        """Those of any of these subjects that have not expired, oldest first."""
        if not subjects:
            return ()
        standing = or_(table.c.expires_at.is_(None), table.c.expires_at > to_micros(self._tx.now))
        statement = select(table).where(table.c.subject.in_(list(subjects)), standing)
        return tuple(map(_binding, self._tx.rows(statement.order_by(table.c.created_at, table.c.id))))

    def page(self, *, subject: str | None = None, cursor: str | None = None, limit: int = 100) -> Page[BindingRecord]:
        """Oldest first. Raises InvalidCursor."""
        statement = select(table).order_by(table.c.created_at, table.c.id).limit(limit + 1)
        if subject is not None:
            statement = statement.where(table.c.subject == subject)
        if cursor is not None:
            statement = statement.where(tuple_(table.c.created_at, table.c.id) > read_cursor(cursor, int, str))
        found = self._tx.rows(statement)
        last = found[limit - 1] if len(found) > limit else None
        items = tuple(map(_binding, found[:limit]))
        return Page(items, None if last is None else make_cursor(last.created_at, last.id))

    def count(self) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(table)))


def _binding(row: Row[Any]) -> BindingRecord:
    return BindingRecord(
        row.id,
        row.subject,
        right(row),
        from_micros(row.created_at),
        row.created_by,
        from_micros_or_none(row.expires_at),
    )
