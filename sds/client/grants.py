"""Who may have which secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sds.client.nouns import ExportFormat, Noun, operation
from sds.client.results import Labels, Many, Result, Time
from sds.client.transport.connection import part

_PATH = "/v1/grants"


class Grant(Result):
    """Of `spiffe_id`, `spiffe_id_prefix` and `labels` one is given."""

    id: str
    secret: str
    spiffe_id: str | None
    spiffe_id_prefix: str | None
    labels: Labels
    created_at: Time
    created_by: str


class CreatedGrant(Grant):
    """`entries`: how many it reaches now."""

    entries: int


class GrantedEntry(Result):
    """An entry that a grant reaches."""

    id: str
    spiffe_id: str
    parent_id: str


class DeletedGrant(Grant):
    """What stood. `entries`: of a dry run, which changes nothing: who would lose the secret, cut; the total is not."""

    dry_run: bool = False
    entries: Many[GrantedEntry] = ()
    entries_total: int | None = None


class Allowed(Result):
    """`entry_id` is None for an identity that no entry has."""

    secret: str
    spiffe_id: str
    entry_id: str | None
    grant: Grant


class Checked(Result):
    """The list is cut; the total is not."""

    allowed: Many[Allowed]
    total: int


class Grants(Noun):
    @operation("grant.list")
    def list(
        self, *, secret: str | None = None, spiffe_id: str | None = None, limit: int | None = None
    ) -> Iterator[Grant]:
        """Oldest first. `spiffe_id`: those that reach it, labels included."""
        return self._pages(Grant, _PATH, "grants", {"secret": secret, "spiffe_id": spiffe_id}, limit=limit)

    @operation("grant.export")
    def export(
        self, export_format: ExportFormat = "jsonl", *, secret: str | None = None, spiffe_id: str | None = None
    ) -> Iterator[bytes]:
        """The whole listing, line by line as it comes."""
        return self._calls.lines(f"{_PATH}:export", {"secret": secret, "spiffe_id": spiffe_id, "format": export_format})

    @operation("grant.create")
    def create(
        self,
        secret: str,
        *,
        spiffe_id: str | None = None,
        spiffe_id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> CreatedGrant:
        """Give exactly one of the three."""
        given: dict[str, Any] = {
            "spiffe_id": spiffe_id,
            "spiffe_id_prefix": spiffe_id_prefix,
            "labels": dict(labels or {}),
        }
        return self._post(CreatedGrant, _PATH, {"secret": secret, **{key: each for key, each in given.items() if each}})

    @operation("grant.check")
    def check(self, *, secret: str | None = None, spiffe_id: str | None = None, entry_id: str | None = None) -> Checked:
        """Who may have what, and by which grant."""
        asked = {"secret": secret, "spiffe_id": spiffe_id, "entry_id": entry_id}
        body = {key: text for key, text in asked.items() if text is not None}
        return self._post(Checked, f"{_PATH}:check", body, keyed=False)

    @operation("grant.show")
    def get(self, grant_id: str) -> Grant:
        return self._get(Grant, f"{_PATH}/{part(grant_id)}")

    @operation("grant.delete")
    def delete(self, grant_id: str, *, dry_run: bool = False, if_match: str | None = None) -> DeletedGrant:
        """Takes it back; a dry run only says who would lose the secret."""
        query = {"dry_run": dry_run or None}
        return self._delete(DeletedGrant, f"{_PATH}/{part(grant_id)}", query, if_match=if_match)
