"""/v1/entries: registration entries."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.rules import DEFAULT_PROFILE
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from sds.admin.errors import BadPrecondition, FieldProblem, InvalidInput
from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, NoQuery, Paging
from sds.admin.services import EntryAdmin, EntryQuery
from sds.admin.wire import entries as wire
from sds.admin.wire.common import read
from sds.store.errors import Conflict

MAX_APPLY = 10_000


class Filter(Paging):
    spiffe_id: str | None = None
    parent_id: str | None = None
    selector: str | None = None
    owner: Annotated[str | None, Query(max_length=255)] = None
    hint: Annotated[str | None, Query(max_length=255)] = None
    profile: Annotated[str | None, Query(max_length=64)] = None
    label: Annotated[list[str] | None, Query(max_length=64)] = None  # each key=value

    def query(self) -> EntryQuery:
        return EntryQuery(
            spiffe_id=None if self.spiffe_id is None else SpiffeId.parse(self.spiffe_id),
            parent_id=None if self.parent_id is None else SpiffeId.parse(self.parent_id),
            selector=None if self.selector is None else Selector.parse(self.selector),
            owner=self.owner,
            hint=self.hint,
            profile="" if self.profile == DEFAULT_PROFILE else self.profile,
            labels=common.labels(self.label),
            limit=self.limit,
            cursor=self.cursor,
        )


class EntryRoutes:
    def __init__(self, entries: EntryAdmin) -> None:
        self._entries = entries

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
        app.get(many, operation_id="entry.list")(self.find)
        app.get(one, operation_id="entry.show")(self.get)
        app.put(one, operation_id="entry.update", openapi_extra=again)(self.update)
        app.delete(one, operation_id="entry.delete")(self.delete)

    async def create(
        self, request: Request, response: Response, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.EntryOut:
        """201 for a new entry, 200 if an identical one stood already."""
        spec = wire.read_entry(body, self._entries.problems)
        common.about(request, spec.spiffe_id)
        made = await self._entries.create(call, spec)
        response.status_code = 201 if made.created else 200
        response.headers["Location"] = f"/v1/entries/{made.entry.id}"
        common.etag(response, made.entry.revision)
        return wire.entry_out(made.entry)

    async def find(self, query: Annotated[Filter, Query()]) -> wire.EntryPage:
        page = await self._entries.find(query.query())
        return wire.EntryPage(entries=[wire.entry_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def get(self, response: Response, entry_id: str, _query: Annotated[NoQuery, Query()]) -> wire.EntryOut:
        entry = await self._entries.get(common.entry_id(entry_id))
        common.etag(response, entry.revision)
        return wire.entry_out(entry)

    async def update(
        self,
        request: Request,
        response: Response,
        call: Call,
        entry_id: str,
        body: Body,
        _query: Annotated[NoQuery, Query()],
    ) -> wire.EntryOut:
        """Replaces the entry. With If-Match or `revision` only if that is its revision."""
        entry_id = common.entry_id(entry_id)
        common.about(request, entry_id)
        allowed = common.if_match(request)
        item = wire.read_replacement(body, self._entries.problems)
        if item.id not in (None, entry_id):
            raise InvalidInput([FieldProblem("id", "is another entry's; an entry's ID never changes")])
        if item.revision is not None and allowed is not None and item.revision not in allowed:
            raise BadPrecondition("If-Match and the body's revision contradict each other; send one of them")
        allowed = allowed if item.revision is None else frozenset({item.revision})
        entry = await self._entries.update(call, entry_id, item.spec, await self._expected(entry_id, allowed))
        common.etag(response, entry.revision)
        return wire.entry_out(entry)

    async def delete(
        self, request: Request, call: Call, entry_id: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.DeletedOut:
        entry_id = common.entry_id(entry_id)
        common.about(request, entry_id)
        expected = await self._expected(entry_id, common.if_match(request))
        return wire.deleted_out(await self._entries.delete(call, entry_id, expected))

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

    async def _expected(self, entry_id: str, allowed: frozenset[int] | None) -> int | None:
        """The one revision to compare with. If several are allowed, the current one if it is among them."""
        if allowed is None:
            return None
        if len(allowed) == 1:
            return next(iter(allowed))
        current = (await self._entries.get(entry_id)).revision
        if current not in allowed:
            raise Conflict(f"entry {entry_id}", current)
        return current
