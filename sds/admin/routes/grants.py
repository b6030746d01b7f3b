"""/v1/grants: who may have which secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.spiffe_id import SpiffeId
from sds.admin import conditional
from sds.admin.routes import common, exports
from sds.admin.routes.common import Body, Call, DryRun, NoQuery, Paging
from sds.admin.routes.secrets import secret_name
from sds.admin.services import Page
from sds.admin.services.grants import GrantAdmin, GrantInfo, GrantQuery
from sds.admin.services.versions import grant_version
from sds.admin.wire import grants as wire
from sds.admin.wire import tables
from sds.admin.wire.common import Input

_TABLE = exports.Table("grants", tables.GRANT, tables.grant_row)


class Chosen(Input):
    """Which grants."""

    secret: Annotated[str | None, Query(max_length=128)] = None
    spiffe_id: str | None = None

    sort: Literal["created", "-created"] = "created"

    def chosen(self) -> GrantQuery:
        return GrantQuery(
            secret=None if self.secret is None else secret_name(self.secret),
            spiffe_id=None if self.spiffe_id is None else SpiffeId.parse(self.spiffe_id),
            order=self.sort,
        )


class Filter(Chosen, Paging):
    pass


class Exported(Chosen, exports.Format):
    pass


class GrantRoutes:
    def __init__(self, grants: GrantAdmin) -> None:
        self._grants = grants

    def mount(self, app: FastAPI) -> None:
        one, many = "/v1/grants/{grant_id:path}", "/v1/grants"
        create, check = common.documented(wire.GrantIn), common.documented(wire.CheckIn)
        app.get(many, operation_id="grant.list")(self.find)
        app.get(
            f"{many}:export", operation_id="grant.export", response_class=Response, openapi_extra=exports.DOCUMENTED
        )(self.export)
        app.get(one, operation_id="grant.show")(self.get)
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
        """Who may have what, oldest first unless another order is asked for."""
        page = await self._grants.find(replace(query.chosen(), limit=query.limit, cursor=query.cursor))
        return wire.GrantPage(grants=[wire.info_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def export(self, query: Annotated[Exported, Query()]) -> Response:
        """The whole listing as a file."""
        chosen = query.chosen()

        async def fetch(cursor: str | None, limit: int) -> Page[GrantInfo]:
            return await self._grants.find(replace(chosen, limit=limit, cursor=cursor))

        return await exports.export(_TABLE, query.format, fetch)

    async def get(self, response: Response, grant_id: str, _query: Annotated[NoQuery, Query()]) -> wire.GrantOut:
        """One grant. It never changes."""
        info = await self._grants.get(common.grant_id(grant_id))
        conditional.show_tag(response, grant_version(info.grant))
        return wire.info_out(info)

    async def check(self, body: Body, _query: Annotated[NoQuery, Query()]) -> wire.CheckedOut:
        """Who may have what, and by which grant."""
        return wire.checked_out(await self._grants.check(wire.read_check(body)))

    async def delete(
        self, request: Request, call: Call, grant_id: str, query: Annotated[DryRun, Query()]
    ) -> wire.DeletedGrantOut:
        """Takes it back; what stood. A dry run says who would lose the secret."""
        grant_id = common.grant_id(grant_id)
        common.about(request, grant_id)
        condition = conditional.condition_of(request)
        if not query.only_say:
            return wire.deleted_out(await self._grants.delete(call, grant_id, condition))
        losing = await self._grants.losing(grant_id)
        condition.check(f"grant {grant_id}", grant_version(losing.info.grant))
        return wire.losing_out(losing)
