"""API tokens, by their ID."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, tuple_, update

from sds.store.access.columns import of_right, right
from sds.store.access.records import ApiTokenRecord
from sds.store.codec import make_cursor, read_cursor
from sds.store.errors import NotFound
from sds.store.records import Page
from sds.store.tables.access import api_tokens as table
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx


class ApiTokens:
    """The token itself is never handed to the store."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def create(self, token: ApiTokenRecord) -> None:
        """Needs an audit event."""
        row = {
            "id": token.id,
            "hash": token.hash,
            "name": token.name,
            **of_right(token.right),
            "created_at": to_micros(token.created_at),
            "created_by": token.created_by,
            "expires_at": to_micros(token.expires_at),
            "bootstrap": int(token.bootstrap),
        }
        self._tx.change(table, insert(table).values(row))

    def find(self, token_id: str) -> ApiTokenRecord | None:
        """None where there is none; live or not."""
        row = self._tx.first(select(table).where(table.c.id == token_id))
        return None if row is None else _token(row)

    def get(self, token_id: str) -> ApiTokenRecord:
        """Raises NotFound."""
        found = self.find(token_id)
        if found is None:
            raise NotFound("API token", token_id)
        return found

    def revoke(self, token_id: str) -> ApiTokenRecord:
        """As it stands then. Revoking twice changes nothing. Needs an audit event. Raises NotFound."""
        moment = to_micros(self._tx.now)
        statement = update(table).where(table.c.id == token_id, table.c.revoked_at.is_(None)).values(revoked_at=moment)
        self._tx.change(table, statement)
        return self.get(token_id)

    def live_bootstrap(self) -> tuple[ApiTokenRecord, ...]:
        """Those that would still be taken."""
        now = to_micros(self._tx.now)
        live = (table.c.bootstrap == 1, table.c.revoked_at.is_(None), table.c.expires_at > now)
        return tuple(map(_token, self._tx.rows(select(table).where(*live))))

    def used(self, token_id: str, every: timedelta) -> None:
        """Note that it was used just now, if that was not noted within `every`. No decision: needs no audit event."""
        before = to_micros(self._tx.now - every)
        stale = or_(table.c.last_used_at.is_(None), table.c.last_used_at < before)
        statement = update(table).where(table.c.id == token_id, stale)
        self._tx.note(statement.values(last_used_at=to_micros(self._tx.now)))

    def page(self, *, live: bool | None = None, cursor: str | None = None, limit: int = 100) -> Page[ApiTokenRecord]:
        """Oldest first. Raises InvalidCursor."""
        statement = select(table).order_by(table.c.created_at, table.c.id).limit(limit + 1)
        now = to_micros(self._tx.now)
        if live is True:
            statement = statement.where(table.c.revoked_at.is_(None), table.c.expires_at > now)
        elif live is False:
            statement = statement.where(or_(table.c.revoked_at.is_not(None), table.c.expires_at <= now))
        if cursor is not None:
            statement = statement.where(tuple_(table.c.created_at, table.c.id) > read_cursor(cursor, int, str))
        found = self._tx.rows(statement)
        last = found[limit - 1] if len(found) > limit else None
        items = tuple(map(_token, found[:limit]))
        return Page(items, None if last is None else make_cursor(last.created_at, last.id))

    def count(self) -> int:
        """How many there are that have not expired."""
        live = select(func.count()).select_from(table).where(table.c.expires_at > to_micros(self._tx.now))
        return int(self._tx.scalar(live))

    def purge(self, before: datetime) -> int:
        """Forget those that expired before then; the audit log remembers what they did."""
        return self._tx.note(delete(table).where(table.c.expires_at < to_micros(before))).rowcount


def _token(row: Row[Any]) -> ApiTokenRecord:
    return ApiTokenRecord(
        row.id,
        row.hash,
        row.name,
        right(row),
        from_micros(row.created_at),
        row.created_by,
        from_micros(row.expires_at),
        from_micros_or_none(row.last_used_at),
        from_micros_or_none(row.revoked_at),
        bool(row.bootstrap),
    )
