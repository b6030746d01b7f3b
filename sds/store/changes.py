"""The change feed's table: what agents and replicas must learn, in order of commit.

PostgreSQL hands out sequence numbers when a row is inserted, not when it commits, so a reader could see 8 while 7 is
still on its way, remember 8 and never come back for 7. Here all writers of the feed therefore take one advisory lock
before they get a number and hold it until their commit: numbers commit in order, and whoever has seen N has seen
all below N. Entries, agents and authorities change seldom enough for that; issuance does not write here.
SQLite has one writer at a time anyway.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select

from sds.store.change_records import Change, ChangeBatch, FeedState
from sds.store.records import ChangeKind
from sds.store.settings import Settings
from sds.store.tables import changes
from sds.store.times import to_micros
from sds.store.tx import Bulk, Tx

FEED_LOCK = 0x5D5_FEED  # any constant, the same in all replicas
CHANNEL = "sds_changes"
MAX_BATCH = 1000
_FLOOR = "changes_floor"

_INSERT = Bulk(changes.insert(), ["kind", "key", "parent", "at"])


class Changes:
    """Changes of this transaction are collected and written at its end, each (kind, key, parent) once."""

    __slots__ = ("_pending", "_settings", "_tx")

    def __init__(self, tx: Tx, settings: Settings) -> None:
        self._tx = tx
        self._settings = settings
        self._pending: dict[tuple[ChangeKind, str, str], None] = {}

    def lock(self) -> None:
        """Take the feed's lock. Call before the first row is touched, so that all take their locks in one order."""
        if self._tx.postgres and not self._tx.feed_locked:
            self._tx.scalar(select(func.pg_advisory_xact_lock(FEED_LOCK)))
            self._tx.feed_locked = True

    def append(self, kind: ChangeKind, key: str, parent: str = "") -> None:
        """Tell followers to re-read `key` once this transaction is committed."""
        self.lock()
        self._pending[kind, key, parent] = None

    def flush(self) -> None:
        """Write what was collected. Called by the unit of work."""
        if not self._pending:
            return
        at = to_micros(self._tx.now)
        self._tx.note_many(_INSERT, [(*change, at) for change in self._pending])
        self._pending.clear()
        if self._tx.postgres:
            self._tx.scalar(select(func.pg_notify(CHANNEL, "")))
        self._tx.told = True

    def state(self) -> FeedState:
        """From where the feed can be followed now. Read with a snapshot in one unit of work, `newest` is its place."""
        oldest = int(self._settings.get(_FLOOR) or 0)
        newest = self._tx.scalar(select(func.max(changes.c.seq)))
        return FeedState(self._settings.epoch, oldest, oldest if newest is None else newest)

    def since(self, after: int, limit: int = MAX_BATCH) -> ChangeBatch:
        """At most `limit` changes after place `after`, in order."""
        rows = self._tx.rows(
            select(changes.c.seq, changes.c.kind, changes.c.key, changes.c.parent)
            .where(changes.c.seq > after)
            .order_by(changes.c.seq)
            .limit(limit)
        )
        found = tuple(Change(row.seq, ChangeKind(row.kind), row.key, row.parent) for row in rows)
        return ChangeBatch(found, found[-1].seq if found else after)

    def prune(self, before: datetime) -> int:
        """Forget changes older than `before`; whoever is still there must take a snapshot. Returns how many went.

        Deletes a prefix of the feed only, so that everything after `oldest` is complete.
        """
        self.lock()
        keep = self._tx.scalar(select(func.min(changes.c.seq)).where(changes.c.at >= to_micros(before)))
        newest = self._tx.scalar(select(func.max(changes.c.seq)))
        if newest is None:
            return 0
        floor = newest if keep is None else keep - 1
        gone = self._tx.note(delete(changes).where(changes.c.seq <= floor)).rowcount
        if gone:
            self._settings.put(_FLOOR, str(floor))
        return gone
