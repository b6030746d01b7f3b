"""What is kept of entries that were deleted, so that their certificates still have an owner."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, exists, select

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from sds.store.codec import labels, to_json
from sds.store.errors import NotFound
from sds.store.inventory.records import PastEntry
from sds.store.tables import certificates, past_entries
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx


class PastEntries:
    """Written with an entry's deletion, which has the audit event."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def remember(self, entry: RegistrationEntry) -> None:
        values = {
            "spiffe_id": str(entry.spiffe_id),
            "owner": entry.spec.owner,
            "labels": to_json(dict(entry.spec.labels)),
            "deleted_at": to_micros(self._tx.now),
        }
        statement = self._tx.insert(past_entries).values(id=entry.id, **values)
        self._tx.note(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    def get(self, entry_id: str) -> PastEntry:
        """Raises NotFound."""
        row = self._tx.first(select(past_entries).where(past_entries.c.id == entry_id))
        if row is None:
            raise NotFound("entry", entry_id)
        return _from_row(row)

    def purge(self, deleted_before: datetime) -> int:
        """Forget those deleted before then that no certificate in the inventory is of; returns how many."""
        named = exists().where(certificates.c.entry_id == past_entries.c.id)
        old = past_entries.c.deleted_at < to_micros(deleted_before)
        return self._tx.note(delete(past_entries).where(old, ~named)).rowcount


def _from_row(row: Row[Any]) -> PastEntry:
    return PastEntry(row.id, SpiffeId.parse(row.spiffe_id), row.owner, labels(row.labels), from_micros(row.deleted_at))
