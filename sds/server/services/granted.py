"""Which entries grants reach, by what stands in a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attestation.entry import RegistrationEntry
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject
from sds.server.secrets.catalog import GrantIndex
from sds.store.records import EntryFilter
from sds.store.unit_of_work import UnitOfWork

_FEW = 16
"""So many grants are looked up one by one; of more, all entries are read once."""
_PAGE = 1000


def reached(uow: UnitOfWork, grants: Sequence[Grant]) -> tuple[RegistrationEntry, ...]:
    """Every entry that has not expired and that one of the grants covers, oldest first."""
    if not grants:
        return ()
    index = GrantIndex(grants)
    candidates = {
        entry.id: entry
        for entry in (uow.entries.all() if len(grants) > _FEW else _candidates(uow, grants))
        if entry.live(uow.now) and index.granting(entry.spec) is not None
    }
    return tuple(sorted(candidates.values(), key=lambda entry: (entry.created_at, entry.id)))


def entries_like(uow: UnitOfWork, filters: EntryFilter) -> Iterator[RegistrationEntry]:
    """All of them, page by page."""
    cursor: str | None = None
    while True:
        page = uow.entries.list(filters, cursor=cursor, limit=_PAGE)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _candidates(uow: UnitOfWork, grants: Sequence[Grant]) -> Iterator[RegistrationEntry]:
    for grant in grants:
        yield from entries_like(uow, _filter(grant.subject))


def _filter(subject: Subject) -> EntryFilter:
    match subject:
        case Exactly(spiffe_id):
            return EntryFilter(spiffe_id=spiffe_id)
        case Below(prefix):
            return EntryFilter(below=prefix)
        case Labelled(labels):
            return EntryFilter(labels=labels)
