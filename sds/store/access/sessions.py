"""Sessions of people at the pages, by the hash of their cookie."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from sds.store.access.records import SessionRecord
from sds.store.tables.access import admin_sessions as table
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx


class AdminSessions:
    """Of each only the hash of its cookie is here."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def create(self, session: SessionRecord) -> None:
        """Needs an audit event."""
        self._tx.change(table, insert(table).values(_row(session)))

    def find(self, session_hash: str) -> SessionRecord | None:
        """None, too, for one whose absolute end has come."""
        live = table.c.expires_at > to_micros(self._tx.now)
        row = self._tx.first(select(table).where(table.c.hash == session_hash, live))
        return None if row is None else _session(row)

    def of(self, caller_id: str) -> tuple[SessionRecord, ...]:
        """All live ones of one caller, the least recently used first."""
        live = (table.c.caller_id == caller_id, table.c.expires_at > to_micros(self._tx.now))
        return tuple(map(_session, self._tx.rows(select(table).where(*live).order_by(table.c.used_at, table.c.hash))))

    def touch(self, session_hash: str, every: timedelta) -> None:
        """Note that it was used just now, if that was not noted within `every`. Needs no audit event."""
        before = to_micros(self._tx.now - every)
        statement = update(table).where(table.c.hash == session_hash, table.c.used_at < before)
        self._tx.note(statement.values(used_at=to_micros(self._tx.now)))

    def delete(self, session_hash: str) -> None:
        """Needs an audit event."""
        self._tx.change(table, delete(table).where(table.c.hash == session_hash))

    def delete_of(self, caller_id: str) -> int:
        """All of one caller; how many. Needs an audit event."""
        return self._tx.change(table, delete(table).where(table.c.caller_id == caller_id)).rowcount

    def purge(self, before: datetime) -> int:
        """Forget those that ended before then."""
        return self._tx.note(delete(table).where(table.c.expires_at < to_micros(before))).rowcount


def _session(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        row.hash,
        row.caller_id,
        row.caller,
        row.csrf,
        from_micros(row.created_at),
        from_micros(row.used_at),
        from_micros(row.expires_at),
    )


def _row(session: SessionRecord) -> dict[str, Any]:
    return {
        "hash": session.hash,
        "caller_id": session.caller_id,
        "caller": session.caller,
        "csrf": session.csrf,
        "created_at": to_micros(session.created_at),
        "used_at": to_micros(session.used_at),
        "expires_at": to_micros(session.expires_at),
    }
