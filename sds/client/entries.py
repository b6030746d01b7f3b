"""Registration entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from sds.client.nouns import FILE_TYPES, ExportFormat, Noun, operation, revision_tag
from sds.client.results import Labels, Many, Result, Time, read
from sds.client.revocations import BlastRadius
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


class UpdatedEntry(Entry):
    """`dry_run`: nothing was done, and it is as it would stand. `changes`: field -> [before, after].

    `blast_radius`: who holds what was issued under it, which stays as it is until it is issued anew.
    """

    dry_run: bool = False
    changes: dict[str, Many[Any]] | None = None
    blast_radius: BlastRadius | None = None


class DeletedEntry(Result):
    """What stood; a sidecar keeps the last certificate issued under it until that expires.

    `blast_radius`: of a dry run, which changes nothing.
    """

    entry: Entry
    last_certificate_expires_at: Time | None
    dry_run: bool = False
    blast_radius: BlastRadius | None = None


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


class EntryFilter(TypedDict, total=False):
    """All must hold. `below`: the SPIFFE ID or, by whole segments, anything under it. `sort`: created, updated or
    spiffe_id; with a minus the other way round.
    """

    spiffe_id: str | None
    below: str | None
    parent_id: str | None
    selector: str | None
    owner: str | None
    label: Mapping[str, str] | None
    hint: str | None
    profile: str | None
    expired: bool | None
    sort: str | None


class Entries(Noun):
    @operation("entry.list")
    def list(self, *, limit: int | None = None, **wanted: Unpack[EntryFilter]) -> Iterator[Entry]:
        """Those that all filters let through, page after page."""
        return self._pages(Entry, _PATH, "entries", wanted, limit=limit)

    @operation("entry.export")
    def export(self, export_format: ExportFormat = "jsonl", **wanted: Unpack[EntryFilter]) -> Iterator[bytes]:
        """The whole listing, line by line as it comes."""
        return self._calls.lines(f"{_PATH}:export", {**wanted, "format": export_format})

    @operation("entry.import")
    def import_file(self, content: bytes, file_format: ExportFormat = "jsonl", *, dry_run: bool = False) -> Applied:
        """Makes the entries of a file so, all or none; those that are not in it stay as they are."""
        answer = self._calls.post(
            f"{_PATH}:import",
            content,
            {"format": file_format, "dry_run": dry_run},
            keyed=not dry_run,
            content_type=FILE_TYPES[file_format],
        )
        return read(Applied, answer.json())

    @operation("entry.show")
    def get(self, entry_id: str) -> Entry:
        return self._get(Entry, f"{_PATH}/{part(entry_id)}")

    @operation("entry.create")
    def create(self, fields: Fields) -> Entry:
        """Also where an identical one stands, which is returned. Raises AlreadyExists for one that differs, Invalid."""
        return self._post(Entry, _PATH, dict(fields))

    @operation("entry.update")
    def update(
        self, entry_id: str, fields: Fields, *, revision: int | None = None, dry_run: bool = False
    ) -> UpdatedEntry:
        """Replaces all fields. Raises Conflict if `revision` is not its own any more. A dry run says what would change,
        and who holds what was issued.
        """
        path, query = f"{_PATH}/{part(entry_id)}", {"dry_run": dry_run or None}
        return self._put(UpdatedEntry, path, dict(fields), query, if_match=revision_tag(revision))

    def change(
        self, entry_id: str, changes: Fields, *, revision: int | None = None, dry_run: bool = False
    ) -> UpdatedEntry:
        """Changes these fields and leaves the rest; refused if somebody changes it meanwhile. Two calls."""
        current = self.get(entry_id)
        fields = {key: value for key, value in current.document.items() if key != "revision"}
        revision = revision or current.revision
        return self.update(entry_id, {**fields, **changes}, revision=revision, dry_run=dry_run)

    @operation("entry.delete")
    def delete(self, entry_id: str, *, revision: int | None = None, dry_run: bool = False) -> DeletedEntry:
        """Nothing is issued under it any more. A dry run says what was issued, and who holds that now."""
        query = {"dry_run": dry_run or None}
        return self._delete(DeletedEntry, f"{_PATH}/{part(entry_id)}", query, if_match=revision_tag(revision))

    @operation("entry.apply")
    def apply(
        self, entries: Sequence[Any], *, dry_run: bool = False, prune: Mapping[str, Any] | None = None
    ) -> Applied:
        """All or none. `prune`: among which entries those may be deleted that are not named; `{"all": True}`: all."""
        body: dict[str, Any] = {"entries": [*entries], "dry_run": dry_run, **({"prune": dict(prune)} if prune else {})}
        return self._post(Applied, f"{_PATH}:apply", body, keyed=not dry_run)
