"""The newest list of each authority, changed by compare-and-swap on its number, so that replicas do not fight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, delete, exists, insert, select, update

from sds.store.errors import Conflict
from sds.store.revocation.records import CrlRecord
from sds.store.tables import blocks, crls, revocations
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx


class Crls:
    """Putting and removing need an audit event. Whoever changes one also says that the bundle has changed."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    @property
    def wanted(self) -> bool:
        """Whether authorities have lists at all: since the first revocation, all of them, and for good."""
        anything = (exists().select_from(table) for table in (crls, blocks, revocations))
        return any(self._tx.scalar(select(one)) for one in anything)

    def all(self) -> Mapping[str, CrlRecord]:
        """The lists by their authorities' ids."""
        return {row.authority_id: _from_row(row) for row in self._tx.rows(select(crls).order_by(crls.c.authority_id))}

    def get(self, authority_id: str) -> CrlRecord | None:
        """The authority's list, or None."""
        row = self._tx.first(select(crls).where(crls.c.authority_id == authority_id))
        return None if row is None else _from_row(row)

    def put(self, new: CrlRecord, *, over: CrlRecord | None) -> None:
        """Store `new` in place of `over`, or as the first. Raises Conflict if something else stands."""
        if over is not None and over.number >= new.number:
            raise ValueError("the number of a CRL only grows")
        standing = self.get(new.authority_id)
        if (standing is None) != (over is None):
            raise Conflict(f"the CRL of authority {new.authority_id}", 0 if standing is None else standing.number)
        if over is None:
            self._tx.change(crls, insert(crls).values(authority_id=new.authority_id, **_values(new)))
            return
        swap = update(crls).where(crls.c.authority_id == new.authority_id, crls.c.number == over.number)
        if self._tx.note(swap.values(_values(new))).rowcount != 1:
            raise Conflict(f"the CRL of authority {new.authority_id}", 0 if standing is None else standing.number)
        self._tx.unaudited.add(crls.name)

    def outdate(self, authority_ids: Iterable[str]) -> None:
        """Ask for a new list of each; unknown ones are skipped."""
        stale = update(crls).where(crls.c.authority_id.in_(list(authority_ids)))
        self._tx.note(stale.values(digest=""))

    def remove(self, authority_id: str) -> None:
        """Forget the list of an authority that is gone; harmless if there is none."""
        self._tx.change(crls, delete(crls).where(crls.c.authority_id == authority_id))


def _values(record: CrlRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "der": record.der,
        "digest": record.digest,
        "this_update": to_micros(record.this_update),
        "next_update": to_micros(record.next_update),
    }


def _from_row(row: Row[Any]) -> CrlRecord:
    return CrlRecord(
        authority_id=row.authority_id,
        number=row.number,
        der=row.der,
        digest=row.digest,
        this_update=from_micros(row.this_update),
        next_update=from_micros(row.next_update),
    )
