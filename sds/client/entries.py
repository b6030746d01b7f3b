"""Registration entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sds.client.nouns import Noun, operation
from sds.client.results import Labels, Many, Result, Time
from sds.client.transport.connection import part

_PATH = "/v1/entries"
Fields = Mapping[str, Any]
"""An entry as the API takes one: `spiffe_id`, `parent_id`, `selectors`, and what else an Entry has."""


class Entry(Result):
    """Who gets which identity. Lifetimes are seconds; None: the server's own."""

    id: str
    revision: int
    spiffe_id: str
    parent_id: str
    selectors: Many[str]
    x509_ttl: float | None
    dns_names: Many[str]
    hint: str
    owner: str
    labels: Labels
    expires_at: Time | None
    created_at: Time
    updated_at: Time
    jwt_ttl: float | None = None
    federates_with: Many[str] = ()
    profile: str = ""
    extra_sans: Many[str] = ()
    subject: str = ""


class DeletedEntry(Result):
    """What stood; a sidecar keeps the last certificate issued under it until that expires."""

    entry: Entry
    last_certificate_expires_at: Time | None


class Change(Result):
    """`action`: create, update, unchanged or delete. `changes`: field -> [before, after]."""

    action: str
    spiffe_id: str
    parent_id: str
    selectors: Many[str]
    entry: Entry | None
    changes: dict[str, Many[Any]]
    last_certificate_expires_at: Time | None


class Applied(Result):
    dry_run: bool
    changes: Many[Change]


class Entries(Noun):
    @operation("entry.list")
    def list(
        self,
        *,
        spiffe_id: str | None = None,
        parent_id: str | None = None,
        selector: str | None = None,
        owner: str | None = None,
        labels: Mapping[str, str] | None = None,
        hint: str | None = None,
        profile: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Those that all filters let through, page after page."""
        query = {
            "spiffe_id": spiffe_id,
            "parent_id": parent_id,
            "selector": selector,
            "owner": owner,
            "label": labels,
            "hint": hint,
            "profile": profile,
        }
        return self._pages(Entry, _PATH, "entries", query, limit=limit)

    @operation("entry.show")
    def get(self, entry_id: str) -> Entry:
        return self._get(Entry, f"{_PATH}/{part(entry_id)}")

    @operation("entry.create")
    def create(self, fields: Fields) -> Entry:
        """Also where an identical one stands, which is returned. Raises AlreadyExists for one that differs, Invalid."""
        return self._post(Entry, _PATH, dict(fields))

    @operation("entry.update")
    def update(self, entry_id: str, fields: Fields, *, revision: int | None = None) -> Entry:
        """Replaces all fields. Raises Conflict if `revision` is not its own any more."""
        return self._put(Entry, f"{_PATH}/{part(entry_id)}", dict(fields), revision=revision)

    def change(self, entry_id: str, changes: Fields, *, revision: int | None = None) -> Entry:
        """Changes these fields and leaves the rest; refused if somebody changes it meanwhile. Two calls."""
        current = self.get(entry_id)
        fields = {key: value for key, value in current.document.items() if key != "revision"}
        return self.update(entry_id, {**fields, **changes}, revision=revision or current.revision)

    @operation("entry.delete")
    def delete(self, entry_id: str, *, revision: int | None = None) -> DeletedEntry:
        return self._delete(DeletedEntry, f"{_PATH}/{part(entry_id)}", revision=revision)

    @operation("entry.apply")
    def apply(
        self, entries: Sequence[Any], *, dry_run: bool = False, prune: Mapping[str, Any] | None = None
    ) -> Applied:
        """All or none. `prune`: among which entries those may be deleted that are not named; `{"all": True}`: all."""
        body: dict[str, Any] = {"entries": [*entries], "dry_run": dry_run, **({"prune": dict(prune)} if prune else {})}
        return self._post(Applied, f"{_PATH}:apply", body, keyed=not dry_run)
