"""Registration entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId
from sds.store.changes import Changes
from sds.store.codec import (
    MICROSECOND,
    chunks,
    identity_hash,
    selectors_text,
    to_json,
)
from sds.store.codec import entry as from_row
from sds.store.errors import AlreadyExists, Conflict, ConstraintViolated, NotFound
from sds.store.inventory.parts import at_or_below, within
from sds.store.inventory.past_entries import PastEntries
from sds.store.paging import both_ways, page
from sds.store.records import ChangeKind, EntryFilter, Page
from sds.store.tables import entries, entry_labels, entry_selectors
from sds.store.times import to_micros, to_micros_or_none
from sds.store.tx import Tx

NO_FILTER = EntryFilter()
_ORDERS = (
    both_ways("created", (entries.c.created_at, entries.c.id), (int, str))
    | both_ways("updated", (entries.c.updated_at, entries.c.id), (int, str))
    | both_ways("spiffe_id", (entries.c.spiffe_id, entries.c.id), (str, str))
)


class Entries:
    """Every change of an entry tells the feed, and needs an audit event in the same unit of work."""

    __slots__ = ("_changes", "_past", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes
        self._past = PastEntries(tx)

    def create(self, spec: EntrySpec, entry_id: str) -> RegistrationEntry:
        """A new entry at revision 1.

        Raises AlreadyExists, with the entry that stands, for the same (spiffe_id, parent_id, selectors): whether it is
        equal otherwise (an idempotent create) is the caller's to judge.
        """
        self._changes.lock()
        now = to_micros(self._tx.now)
        row = {"id": entry_id, "revision": 1, "created_at": now, "updated_at": now, **_columns(spec)}
        statement = self._tx.insert(entries).values(row).on_conflict_do_nothing().returning(entries.c.id)
        if self._tx.note(statement).first() is None:
            standing = self.find(spec)
            if standing is None:
                raise ConstraintViolated("entries.id")
            raise AlreadyExists(standing)
        self._tx.unaudited.add(entries.name)
        self._write_sets(entry_id, spec)
        self._changes.append(ChangeKind.ENTRY, entry_id, str(spec.parent_id))
        return self.get(entry_id)

    def get(self, entry_id: str) -> RegistrationEntry:
        """Raises NotFound."""
        row = self._tx.first(select(entries).where(entries.c.id == entry_id))
        if row is None:
            raise NotFound("entry", entry_id)
        return from_row(row)

    def find(self, spec: EntrySpec) -> RegistrationEntry | None:
        """The entry with the same (spiffe_id, parent_id, selectors), if there is one."""
        row = self._tx.first(select(entries).where(entries.c.identity_hash == identity_hash(spec)))
        return None if row is None else from_row(row)

    def list(
        self, filters: EntryFilter = NO_FILTER, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RegistrationEntry]:
        """In the order that the filters name, oldest first if they name none. Raises InvalidCursor."""
        statement, order = select(entries).where(*_conditions(self._tx, filters)), _ORDERS[filters.order]
        rows, next_cursor = page(self._tx, statement, order, cursor=cursor, limit=limit)
        return Page(tuple(map(from_row, rows)), next_cursor)

    def all(self) -> tuple[RegistrationEntry, ...]:
        """Every entry, expired ones too, oldest first."""
        return tuple(map(from_row, self._tx.rows(select(entries).order_by(entries.c.created_at, entries.c.id))))

    def all_for(self, parent_id: SpiffeId) -> tuple[RegistrationEntry, ...]:
        """Every entry under this parent, oldest first."""
        statement = select(entries).where(entries.c.parent_id == str(parent_id))
        return tuple(map(from_row, self._tx.rows(statement.order_by(entries.c.created_at, entries.c.id))))

    def sharing(self, selectors: Selectors) -> Iterator[RegistrationEntry]:
        """Every entry that has at least one of these selectors, oldest first within each few hundred of them."""
        seen: set[str] = set()
        for some in chunks(map(str, selectors)):
            having = select(entry_selectors.c.entry_id).where(entry_selectors.c.selector.in_(some))
            statement = select(entries).where(entries.c.id.in_(having))
            for row in self._tx.rows(statement.order_by(entries.c.created_at, entries.c.id)):
                if row.id not in seen:
                    seen.add(row.id)
                    yield from_row(row)

    def update(self, entry_id: str, spec: EntrySpec, expected_revision: int | None = None) -> RegistrationEntry:
        """Replace the spec; an equal one changes nothing and needs no audit event.

        Raises NotFound, Conflict if `expected_revision` is given and another stands, AlreadyExists if another entry
        has the new (spiffe_id, parent_id, selectors).
        """
        standing = self._lock(entry_id, expected_revision)
        if standing.spec == spec:
            return standing
        other = self.find(spec)
        if other is not None and other.id != entry_id:
            raise AlreadyExists(other)
        values = {**_columns(spec), "revision": standing.revision + 1, "updated_at": to_micros(self._tx.now)}
        swap = update(entries).where(entries.c.id == entry_id, entries.c.revision == standing.revision)
        if self._tx.change(entries, swap.values(values)).rowcount != 1:
            raise Conflict(f"entry {entry_id}", self.get(entry_id).revision)
        for side in (entry_selectors, entry_labels):
            self._tx.note(delete(side).where(side.c.entry_id == entry_id))
        self._write_sets(entry_id, spec)
        # Both agents must learn of an entry that moves from one to the other.
        self._changes.append(ChangeKind.ENTRY, entry_id, str(standing.parent_id))
        self._changes.append(ChangeKind.ENTRY, entry_id, str(spec.parent_id))
        return self.get(entry_id)

    def delete(self, entry_id: str, expected_revision: int | None = None) -> RegistrationEntry:
        """Remove and return it. Raises NotFound, or Conflict if `expected_revision` is given and another stands."""
        standing = self._lock(entry_id, expected_revision)
        gone = delete(entries).where(entries.c.id == entry_id, entries.c.revision == standing.revision)
        if self._tx.change(entries, gone).rowcount != 1:
            raise Conflict(f"entry {entry_id}", self.get(entry_id).revision)
        self._past.remember(standing)
        self._changes.append(ChangeKind.ENTRY, entry_id, str(standing.parent_id))
        return standing

    def _lock(self, entry_id: str, expected_revision: int | None) -> RegistrationEntry:
        """The entry as it stands, after all earlier changes of the feed: PostgreSQL's lock, SQLite's only writer."""
        self._changes.lock()
        standing = self.get(entry_id)
        if expected_revision is not None and standing.revision != expected_revision:
            raise Conflict(f"entry {entry_id}", standing.revision)
        return standing

    def _write_sets(self, entry_id: str, spec: EntrySpec) -> None:
        """The side tables by which lists are filtered; what counts is in the entry's own row."""
        selectors = [{"entry_id": entry_id, "selector": str(selector)} for selector in spec.selectors]
        if selectors:
            self._tx.note(insert(entry_selectors), selectors)
        labels = [{"entry_id": entry_id, "name": name, "value": value} for name, value in spec.labels.items()]
        if labels:
            self._tx.note(insert(entry_labels), labels)


def _columns(spec: EntrySpec) -> Mapping[str, Any]:
    ttl, jwt_ttl = spec.x509_svid_ttl, spec.jwt_svid_ttl
    return {
        "spiffe_id": str(spec.spiffe_id),
        "parent_id": str(spec.parent_id),
        "selectors": selectors_text(spec.selectors),
        "identity_hash": identity_hash(spec),
        "x509_svid_ttl": None if ttl is None else ttl // MICROSECOND,
        "dns_names": to_json(spec.dns_names),
        "hint": spec.hint,
        "owner": spec.owner,
        "labels": to_json(dict(spec.labels)),
        "expires_at": to_micros_or_none(spec.expires_at),
        "jwt_svid_ttl": None if jwt_ttl is None else jwt_ttl // MICROSECOND,
        "federates_with": to_json([domain.name for domain in spec.federates_with]),
        "profile": spec.profile,
        "extra_sans": to_json(spec.extra_sans),
        "subject": spec.subject,
    }


def _conditions(tx: Tx, filters: EntryFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.spiffe_id is not None:
        found.append(entries.c.spiffe_id == str(filters.spiffe_id))
    if filters.below is not None:
        found.append(at_or_below(entries.c.spiffe_id, filters.below))
    if filters.parent_id is not None:
        found.append(entries.c.parent_id == str(filters.parent_id))
    if filters.owner is not None:
        found.append(entries.c.owner == filters.owner)
    if filters.hint is not None:
        found.append(entries.c.hint == filters.hint)
    if filters.profile is not None:
        found.append(entries.c.profile == filters.profile)
    if filters.selector is not None:
        having = select(entry_selectors.c.entry_id).where(entry_selectors.c.selector == str(filters.selector))
        found.append(entries.c.id.in_(having))
    for name, value in filters.labels.items():
        labels = select(entry_labels.c.entry_id).where(entry_labels.c.name == name, entry_labels.c.value == value)
        found.append(entries.c.id.in_(labels))
    if filters.expired is not None:
        over = entries.c.expires_at <= to_micros(tx.now)
        found.append(over if filters.expired else or_(entries.c.expires_at.is_(None), ~over))
    return found + within(tx, filters.scopes, entries.c.spiffe_id, entries.c.id)
