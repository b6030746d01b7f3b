"""/v1/access: role bindings and API tokens. /v1/whoami: the caller as this server sees them."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request

from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, DryRun, NoQuery, Paging
from sds.admin.services.access import AccessAdmin, AccessQuery
from sds.admin.wire import access as wire
from sds.admin.wire.common import read
from sds.store.errors import NotFound

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class TokenFilter(Paging):
    live: bool | None = None


class BindingFilter(Paging):
    subject: Annotated[str | None, Query(max_length=2048)] = None


class AccessRoutes:
    def __init__(self, access: AccessAdmin) -> None:
        self._access = access

    def mount(self, app: FastAPI) -> None:
        tokens, bindings = "/v1/access/tokens", "/v1/access/bindings"
        token, binding = common.documented(wire.ApiTokenIn), common.documented(wire.BindingIn)
        app.get("/v1/whoami", operation_id="access.whoami")(self.whoami)
        app.get(tokens, operation_id="access.token.list")(self.tokens)
        app.post(tokens, operation_id="access.token.create", status_code=201, openapi_extra=token)(self.create_token)
        app.post(f"{tokens}:bootstrap", operation_id="access.token.bootstrap", status_code=201)(self.bootstrap)
        app.delete(f"{tokens}/{{token_id}}", operation_id="access.token.revoke")(self.revoke_token)
        app.get(bindings, operation_id="access.binding.list")(self.bindings)
        app.post(bindings, operation_id="access.binding.create", status_code=201, openapi_extra=binding)(
            self.create_binding
        )
        app.delete(f"{bindings}/{{binding_id}}", operation_id="access.binding.delete")(self.delete_binding)

    async def whoami(self, call: Call, _query: Annotated[NoQuery, Query()]) -> wire.WhoAmIOut:
        """Who the caller is here, and what they may do."""
        return wire.whoami_out(call)

    async def tokens(self, query: Annotated[TokenFilter, Query()]) -> wire.ApiTokenPage:
        page = await self._access.tokens(AccessQuery(live=query.live, limit=query.limit, cursor=query.cursor))
        return wire.ApiTokenPage(tokens=[wire.token_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def create_token(self, call: Call, body: Body, _query: Annotated[NoQuery, Query()]) -> wire.CreatedTokenOut:
        """An API token; it is shown only here. It cannot do more than whoever makes it."""
        return wire.created_out(await self._access.create_token(call, read(wire.ApiTokenIn, body).order()))

    async def bootstrap(self, call: Call, _query: Annotated[NoQuery, Query()]) -> wire.CreatedTokenOut:
        """A token for the first login, on the local socket alone. It ends those that were given out before."""
        return wire.created_out(await self._access.bootstrap(call))

    async def revoke_token(
        self, request: Request, call: Call, token_id: str, query: Annotated[DryRun, Query()]
    ) -> wire.RevokedTokenOut:
        """It is taken no more, nor are the sessions that it began. A dry run says whose it is, and when it was used."""
        known = _known(token_id, "API token")
        common.about(request, known)
        if query.only_say:
            return wire.revoked_out(await self._access.token(known), dry_run=True)
        return wire.revoked_out(await self._access.revoke_token(call, known), dry_run=False)

    async def bindings(self, query: Annotated[BindingFilter, Query()]) -> wire.BindingPage:
        asked = AccessQuery(subject=query.subject, limit=query.limit, cursor=query.cursor)
        page = await self._access.bindings(asked)
        return wire.BindingPage(bindings=[wire.binding_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def create_binding(self, call: Call, body: Body, _query: Annotated[NoQuery, Query()]) -> wire.BindingOut:
        """Gives a role to a subject. Nobody can give more than they have."""
        return wire.binding_out(await self._access.create_binding(call, read(wire.BindingIn, body).order()))

    async def delete_binding(
        self, request: Request, call: Call, binding_id: str, query: Annotated[DryRun, Query()]
    ) -> wire.DeletedBindingOut:
        """Takes the role back; what stood. A dry run says who has it."""
        known = _known(binding_id, "role binding")
        common.about(request, known)
        if query.only_say:
            return wire.deleted_out(await self._access.binding(known), dry_run=True)
        return wire.deleted_out(await self._access.delete_binding(call, known), dry_run=False)


def _known(text: str, kind: str) -> str:
    """Of the form that this server gives them; anything else names nothing (404), and is not repeated."""
    if not _ID.fullmatch(text):
        raise NotFound(kind, "this is no such ID")
    return text
