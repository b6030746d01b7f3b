"""/v1/entries: registration entries."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.entry import RegistrationEntry
from attestation.rules import DEFAULT_PROFILE
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from sds.admin.access.decide import check, permitted, unlimited
from sds.admin.access.roles import Scope
from sds.admin.errors import BadPrecondition, FieldProblem, InvalidInput
from sds.admin.routes import common, exports
from sds.admin.routes.common import Body, Call, DryRun, NoQuery, Paging
from sds.admin.routes.radius import blast_radius
from sds.admin.services import AdminCall, DeletedEntry, EntryAdmin, EntryQuery, Page, RevocationAdmin
from sds.admin.wire import bulk, tables
from sds.admin.wire import entries as wire
from sds.admin.wire.common import Input, read
from sds.store.errors import Conflict
from sds.store.revocation.records import BlockKind

MAX_APPLY = 10_000
_ROWS = exports.Table("entries", tables.ENTRY, tables.entry_row)
_CELLS = exports.Table("entries", tables.ENTRY, tables.entry_cells)


class Chosen(Input):
    """Which entries."""

    spiffe_id: str | None = None
    below: str | None = None
    parent_id: str | None = None
    selector: str | None = None
    owner: Annotated[str | None, Query(max_length=255)] = None
    hint: Annotated[str | None, Query(max_length=255)] = None
    profile: Annotated[str | None, Query(max_length=64)] = None
    label: Annotated[list[str] | None, Query(max_length=64)] = None  # each key=value
    expired: Literal["true", "false"] | None = None
    sort: Literal["created", "-created", "updated", "-updated", "spiffe_id", "-spiffe_id"] = "created"

    def chosen(self, scopes: tuple[Scope, ...]) -> EntryQuery:
        """Raises InvalidSpiffeId, InvalidSelector, InvalidInput."""
        return EntryQuery(
            spiffe_id=None if self.spiffe_id is None else SpiffeId.parse(self.spiffe_id),
            below=None if self.below is None else SpiffeId.parse(self.below),
            parent_id=None if self.parent_id is None else SpiffeId.parse(self.parent_id),
            selector=None if self.selector is None else Selector.parse(self.selector),
            owner=self.owner,
            hint=self.hint,
            profile="" if self.profile == DEFAULT_PROFILE else self.profile,
            labels=common.labels(self.label),
            expired=common.yes_or_no(self.expired),
            order=self.sort,
            scopes=scopes,
        )


class Filter(Chosen, Paging):
    def query(self, scopes: tuple[Scope, ...]) -> EntryQuery:
        return replace(self.chosen(scopes), limit=self.limit, cursor=self.cursor)


class Exported(Chosen, exports.Format):
    pass


class Imports(exports.Format, DryRun):
    """What a file is, and whether it is only looked at."""


class EntryRoutes:
    def __init__(self, entries: EntryAdmin, revocations: RevocationAdmin) -> None:
        self._entries = entries
        self._revocations = revocations

    def mount(self, app: FastAPI) -> None:
        one, many = "/v1/entries/{entry_id:path}", "/v1/entries"  # :path, so that any ID is looked up and found missing
        body = common.documented(wire.EntryIn)
        again = common.documented(wire.EntryAgain)
        app.post(many, operation_id="entry.create", status_code=201, openapi_extra=body)(self.create)
        app.post(
            f"{many}:apply",
            operation_id="entry.apply",
            response_model=wire.ApplyOut,
            openapi_extra=common.documented(wire.ApplyIn),
        )(self.apply)
        app.post(
            f"{many}:import",
            operation_id="entry.import",
            response_model=wire.ApplyOut,
            openapi_extra=exports.file_body("entries", "one entry a line, or CSV with the columns of an export"),
        )(self.import_file)
        app.get(many, operation_id="entry.list")(self.find)
        app.get(
            f"{many}:export", operation_id="entry.export", response_class=Response, openapi_extra=exports.DOCUMENTED
        )(self.export)
        app.get(one, operation_id="entry.show")(self.get)
        app.put(one, operation_id="entry.update", openapi_extra=again)(self.update)
        app.delete(one, operation_id="entry.delete")(self.delete)

    async def create(
        self, request: Request, response: Response, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.EntryOut:
        """201 for a new entry, 200 if an identical one stood already."""
        spec = wire.read_entry(body, self._entries.problems)
        common.about(request, spec.spiffe_id)
        check(call, "entry.create", spec.spiffe_id, spec.labels)
        made = await self._entries.create(call, spec)
        response.status_code = 201 if made.created else 200
        response.headers["Location"] = f"/v1/entries/{made.entry.id}"
        common.etag(response, made.entry.revision)
        return wire.entry_out(made.entry)

    async def find(self, call: Call, query: Annotated[Filter, Query()]) -> wire.EntryPage:
        """Registration entries, oldest first unless another order is asked for."""
        page = await self._entries.find(query.query(permitted(call, "entry.list")))
        return wire.EntryPage(entries=[wire.entry_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def export(self, call: Call, query: Annotated[Exported, Query()]) -> Response:
        """The whole listing as a file."""
        chosen = query.chosen(permitted(call, "entry.export"))

        async def fetch(cursor: str | None, limit: int) -> Page[RegistrationEntry]:
            return await self._entries.find(replace(chosen, limit=limit, cursor=cursor))

        return await exports.export(_CELLS if query.format == "csv" else _ROWS, query.format, fetch)

    async def get(
        self, response: Response, call: Call, entry_id: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.EntryOut:
        """One entry."""
        entry = await self._entries.get(common.entry_id(entry_id))
        check(call, "entry.show", entry.spiffe_id, entry.spec.labels)
        common.etag(response, entry.revision)
        return wire.entry_out(entry)

    async def update(
        self,
        request: Request,
        response: Response,
        call: Call,
        entry_id: str,
        body: Body,
        query: Annotated[DryRun, Query()],
    ) -> wire.PlannedOut | wire.EntryOut:
        """Replaces the entry. With If-Match or `revision` only if that is its revision.

        A dry run says what would change, and who holds what was issued.
        """
        entry_id = common.entry_id(entry_id)
        common.about(request, entry_id)
        allowed = common.if_match(request)
        item = wire.read_replacement(body, self._entries.problems)
        if item.id not in (None, entry_id):
            raise InvalidInput([FieldProblem("id", "is another entry's; an entry's ID never changes")])
        if item.revision is not None and allowed is not None and item.revision not in allowed:
            raise BadPrecondition("If-Match and the body's revision contradict each other; send one of them")
        allowed = allowed if item.revision is None else frozenset({item.revision})
        check(call, "entry.update", item.spec.spiffe_id, item.spec.labels)
        expected = await self._expected(call, "entry.update", entry_id, allowed)
        if query.only_say:
            planned = await self._entries.plan_update(call, entry_id, item.spec, expected)
            common.etag(response, planned.entry.revision)
            return wire.planned_out(planned, await blast_radius(self._revocations, call, BlockKind.ENTRY, entry_id))
        entry = await self._entries.update(call, entry_id, item.spec, expected)
        common.etag(response, entry.revision)
        return wire.entry_out(entry)

    async def delete(
        self, request: Request, call: Call, entry_id: str, query: Annotated[DryRun, Query()]
    ) -> wire.DeletedOut:
        """Nothing is issued under it any more. A dry run says what was issued, and who holds that now."""
        entry_id = common.entry_id(entry_id)
        common.about(request, entry_id)
        expected = await self._expected(call, "entry.delete", entry_id, common.if_match(request))
        if not query.only_say:
            return wire.deleted_out(await self._entries.delete(call, entry_id, expected))
        entry = await self._entries.get(entry_id)
        if expected not in {None, entry.revision}:
            raise Conflict(f"entry {entry_id}", entry.revision)
        radius = await blast_radius(self._revocations, call, BlockKind.ENTRY, entry_id)
        return wire.deleted_out(DeletedEntry(entry, radius.last_expiry), radius)

    async def apply(self, call: Call, body: Body, _query: Annotated[NoQuery, Query()]) -> Response:
        """Makes the entries so, all or none; a dry run only says what that would change.

        Reading and writing thousands of entries takes a while: off the loop, which has streams to serve.
        """
        wanted = read(wire.ApplyIn, body)
        if len(wanted.entries) > MAX_APPLY:
            raise InvalidInput([FieldProblem("entries", f"at most {MAX_APPLY} at once")])
        prune = None if wanted.prune is None else wanted.prune.scope()
        items = await asyncio.to_thread(wire.read_items, wanted.entries, self._entries.problems)
        changes = await self._entries.apply(call, items, prune=prune, dry_run=wanted.dry_run)
        answer = await asyncio.to_thread(wire.applied_json, changes, dry_run=wanted.dry_run)
        return Response(answer, media_type="application/json")

    async def import_file(self, request: Request, call: Call, query: Annotated[Imports, Query()]) -> Response:
        """Makes the entries of a file so, all or none; those that are not in it stay as they are."""
        body = await common.file_body(request, exports.TYPES[query.format])
        problems = self._entries.problems
        wanted = await asyncio.to_thread(bulk.read_entries, body, query.format, problems, MAX_APPLY)
        try:
            changes = await self._entries.apply(call, wanted.items, prune=None, dry_run=query.only_say)
        except InvalidInput as error:
            raise wanted.on_lines(error) from None
        answer = await asyncio.to_thread(wire.applied_json, changes, dry_run=query.only_say)
        return Response(answer, media_type="application/json")

    async def _expected(
        self, call: AdminCall, operation: str, entry_id: str, allowed: frozenset[int] | None
    ) -> int | None:
        """The one revision to compare with, None for any. Raises Forbidden for an entry outside of the caller's part.

        If several are allowed it is the current one if it is among them. Whose rights are limited changes only what was
        looked at here.
        """
        limited = not unlimited(permitted(call, operation))
        if not limited and (allowed is None or len(allowed) == 1):
            return None if allowed is None else next(iter(allowed))
        entry = await self._entries.get(entry_id)
        check(call, operation, entry.spiffe_id, entry.spec.labels)
        if allowed is not None and entry.revision not in allowed:
            raise Conflict(f"entry {entry_id}", entry.revision)
        return entry.revision
