"""/v1/grants: who may have which secret."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.spiffe_id import SpiffeId
from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, NoQuery, Paging
from sds.admin.routes.secrets import secret_name
from sds.admin.services.grants import GrantAdmin, GrantQuery
from sds.admin.wire import grants as wire


class Filter(Paging):
    secret: Annotated[str | None, Query(max_length=128)] = None
    spiffe_id: str | None = None

    def query(self) -> GrantQuery:
        return GrantQuery(
            secret=None if self.secret is None else secret_name(self.secret),
            spiffe_id=None if self.spiffe_id is None else SpiffeId.parse(self.spiffe_id),
            limit=self.limit,
            cursor=self.cursor,
        )


class GrantRoutes:
    def __init__(self, grants: GrantAdmin) -> None:
        self._grants = grants

    def mount(self, app: FastAPI) -> None:
        one, many = "/v1/grants/{grant_id:path}", "/v1/grants"
        create, check = common.documented(wire.GrantIn), common.documented(wire.CheckIn)
        app.get(many, operation_id="grant.list")(self.find)
        app.post(many, operation_id="grant.create", status_code=201, openapi_extra=create)(self.create)
        app.post(f"{many}:check", operation_id="grant.check", openapi_extra=check)(self.check)
        app.delete(one, operation_id="grant.delete")(self.delete)

    async def create(
        self, request: Request, response: Response, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.CreatedGrantOut:
        """201, or 200 for one that stood already; `entries` says how many it reaches now."""
        secret, subject = wire.read_grant(body)
        secret = secret_name(secret)
        common.about(request, secret)
        made = await self._grants.create(call, secret, subject)
        response.status_code = 201 if made.created else 200
        return wire.created_out(made)

    async def find(self, query: Annotated[Filter, Query()]) -> wire.GrantPage:
        page = await self._grants.find(query.query())
        return wire.GrantPage(grants=[wire.info_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def check(self, body: Body, _query: Annotated[NoQuery, Query()]) -> wire.CheckedOut:
        """Who may have what, and by which grant."""
        return wire.checked_out(await self._grants.check(wire.read_check(body)))

    async def delete(
        self, request: Request, call: Call, grant_id: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.GrantOut:
        """Takes it back; what stood."""
        grant_id = common.grant_id(grant_id)
        common.about(request, grant_id)
        return wire.info_out(await self._grants.delete(call, grant_id))
