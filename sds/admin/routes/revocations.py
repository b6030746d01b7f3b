"""/v1/revocations: taking back what was issued. /v1/blocks: what is issued to no more, and lifting that."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from sds.admin import conditional
from sds.admin.routes import common, exports
from sds.admin.routes.common import Body, Call, NoQuery, Paging
from sds.admin.services import Page
from sds.admin.services.revocations import BlockQuery, RevocationAdmin, RevocationQuery
from sds.admin.services.versions import block_version
from sds.admin.wire import revocations, tables
from sds.admin.wire.common import Input, read
from sds.admin.wire.revocations import KindField, ReasonField
from sds.store.revocation.records import RevocationRecord

_TABLE = exports.Table("revocations", tables.REVOCATION, tables.revocation_row)


class Chosen(Input):
    """Which revoked certificates."""

    block_id: Annotated[str | None, Query(max_length=64)] = None
    authority_id: Annotated[str | None, Query(max_length=128)] = None
    reason: ReasonField | None = None
    sort: Literal["-revoked", "revoked"] = "-revoked"

    def chosen(self) -> RevocationQuery:
        return RevocationQuery(self.block_id, self.authority_id, self.reason, self.sort)


class RevokedFilter(Chosen, Paging):
    pass


class RevokedExport(Chosen, exports.Format):
    pass


class BlockFilter(Paging):
    kind: KindField | None = None
    standing: Literal["true", "false"] | None = None
    sort: Literal["-created", "created"] = "-created"


class RevocationRoutes:
    def __init__(self, service: RevocationAdmin) -> None:
        self._service = service

    def mount(self, app: FastAPI) -> None:
        body = common.documented(revocations.RevocationIn)
        one = "/v1/blocks/{block_id}"
        app.post("/v1/revocations", operation_id="revocation.create", openapi_extra=body)(self.revoke)
        app.get("/v1/revocations", operation_id="revocation.list")(self.find)
        app.get(
            "/v1/revocations:export",
            operation_id="revocation.export",
            response_class=Response,
            openapi_extra=exports.DOCUMENTED,
        )(self.export)
        app.get("/v1/blocks", operation_id="block.list")(self.blocks)
        app.post(f"{one}:lift", operation_id="block.lift")(self.lift)
        app.get(one, operation_id="block.show")(self.get)

    async def revoke(
        self, request: Request, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> revocations.RevocationOut:
        """Says what it would hit; does it if `dry_run` is false."""
        order = revocations.order_of(read(revocations.RevocationIn, body))
        common.about(request, f"{order.kind}:{order.value}" if order.value.isprintable() else order.kind)
        return revocations.revocation_out(await self._service.revoke(call, order))

    async def find(self, query: Annotated[RevokedFilter, Query()]) -> revocations.RevokedPage:
        """Certificates that are revoked, newest first."""
        asked = replace(query.chosen(), limit=query.limit, cursor=query.cursor)
        page = await self._service.revocations(asked)
        return revocations.RevokedPage(
            revocations=[revocations.revoked_out(each) for each in page.items], next_cursor=page.next_cursor
        )

    async def export(self, query: Annotated[RevokedExport, Query()]) -> Response:
        """The whole listing as a file."""
        chosen = query.chosen()

        async def fetch(cursor: str | None, limit: int) -> Page[RevocationRecord]:
            return await self._service.revocations(replace(chosen, limit=limit, cursor=cursor))

        return await exports.export(_TABLE, query.format, fetch)

    async def blocks(self, query: Annotated[BlockFilter, Query()]) -> revocations.BlockPage:
        """Decisions to revoke, newest first."""
        page = await self._service.blocks(
            BlockQuery(query.kind, common.yes_or_no(query.standing), query.sort, query.limit, query.cursor)
        )
        return revocations.BlockPage(
            blocks=[revocations.block_out(each) for each in page.items], next_cursor=page.next_cursor
        )

    async def get(self, response: Response, block_id: str, _query: Annotated[NoQuery, Query()]) -> revocations.BlockOut:
        """One decision to revoke."""
        block = await self._service.block(common.block_id(block_id))
        conditional.show_tag(response, block_version(block))
        return revocations.block_out(block)

    async def lift(
        self, request: Request, call: Call, block_id: str, _query: Annotated[NoQuery, Query()]
    ) -> revocations.LiftedOut:
        """Issue to it again; what was revoked for good stays so."""
        known = common.block_id(block_id)
        common.about(request, known)
        return revocations.lifted_out(await self._service.lift(call, known, conditional.condition_of(request)))
