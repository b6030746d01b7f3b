"""/v1/authorities: the slots of the trust domain's authorities, and what moves them."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from ca.authority import AuthorityKind
from sds.admin import conditional
from sds.admin.routes import common
from sds.admin.routes.common import Call, DryRun, NoQuery, OptionalBody
from sds.admin.routes.radius import blast_radius
from sds.admin.services import AdminCall, AuthorityAdmin, RevocationAdmin
from sds.admin.services.conditions import Condition
from sds.admin.services.versions import authority_version
from sds.admin.wire import authorities as wire
from sds.admin.wire.common import Input, read
from sds.store.errors import NotFound
from sds.store.revocation.records import BlockKind

_ID = re.compile(r"[0-9a-f]{1,128}", re.ASCII)


class Filter(Input):
    kind: wire.Kind | None = None


class AuthorityRoutes:
    """An authority's ID is the hex of its subject key identifier, or a JWT key's ID."""

    def __init__(self, authorities: AuthorityAdmin, revocations: RevocationAdmin) -> None:
        self._authorities = authorities
        self._revocations = revocations

    def mount(self, app: FastAPI) -> None:
        one = "/v1/authorities/{authority_id}"
        prepare, activate = common.documented(wire.PrepareIn), common.documented(wire.ActivateIn)
        revoke = common.documented(wire.RevokeIn)
        app.get("/v1/authorities", operation_id="authority.list")(self.overview)
        app.post("/v1/authorities:prepare", operation_id="authority.prepare", status_code=201, openapi_extra=prepare)(
            self.prepare
        )
        app.post(f"{one}:activate", operation_id="authority.activate", openapi_extra=activate)(self.activate)
        app.post(f"{one}:taint", operation_id="authority.taint")(self.taint)
        app.post(f"{one}:revoke", operation_id="authority.revoke", openapi_extra=revoke)(self.revoke)
        app.get(one, operation_id="authority.show")(self.get)

    async def overview(self, query: Annotated[Filter, Query()]) -> wire.AuthorityPage:
        """Every authority, and what the schedule has to do now."""
        return wire.overview_out(await self._authorities.overview(AuthorityKind(query.kind) if query.kind else None))

    async def get(
        self, response: Response, authority_id: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.AuthorityOut:
        """One authority."""
        info = await self._authorities.get(_known(authority_id))
        conditional.show_tag(response, authority_version(info.authority))
        return wire.authority_out(info)

    async def prepare(
        self, request: Request, call: Call, body: OptionalBody, _query: Annotated[NoQuery, Query()]
    ) -> wire.AuthorityOut:
        """Makes the next authority and publishes it in the bundle."""
        kind = AuthorityKind(read(wire.PrepareIn, body).kind)
        common.about(request, kind)
        return wire.authority_out(await self._authorities.prepare(call, kind))

    async def activate(
        self, request: Request, call: Call, authority_id: str, body: OptionalBody, _query: Annotated[NoQuery, Query()]
    ) -> wire.AuthorityOut:
        """409 `gate-closed`, with the gate, while somebody would not accept what the authority issues."""
        wanted, known = read(wire.ActivateIn, body), _known(authority_id)
        common.about(request, known)
        condition = conditional.condition_of(request)
        activated = await self._authorities.activate(
            call, known, force=wanted.force, cross_sign=wanted.cross_sign, condition=condition
        )
        return wire.authority_out(activated)

    async def taint(
        self, request: Request, call: Call, authority_id: str, query: Annotated[DryRun, Query()]
    ) -> wire.AuthorityGoneOut:
        """It signs nothing more, and what it issued is replaced. A dry run says what that is."""
        known = _known(authority_id)
        common.about(request, known)
        condition = conditional.condition_of(request)
        if query.only_say:
            return await self._would_go(call, known, condition)
        return wire.gone_out(await self._authorities.taint(call, known, condition=condition))

    async def revoke(
        self, request: Request, call: Call, authority_id: str, body: OptionalBody, query: Annotated[DryRun, Query()]
    ) -> wire.AuthorityGoneOut:
        """Out of the bundle at once. A dry run says what nobody would accept any more."""
        wanted, known = read(wire.RevokeIn, body), _known(authority_id)
        common.about(request, known)
        condition = conditional.condition_of(request)
        if query.only_say:
            return await self._would_go(call, known, condition)
        return wire.gone_out(await self._authorities.revoke(call, known, force=wanted.force, condition=condition))

    async def _would_go(self, call: AdminCall, authority_id: str, condition: Condition) -> wire.AuthorityGoneOut:
        """The authority as it stands, and what it issued. Raises Conflict."""
        info = await self._authorities.get(authority_id)
        condition.check(f"authority {authority_id}", authority_version(info.authority))
        return wire.gone_out(info, await blast_radius(self._revocations, call, BlockKind.AUTHORITY, authority_id))


def _known(text: str) -> str:
    """An ID as this server makes them; anything else names nothing (404), and is not repeated."""
    if not _ID.fullmatch(text):
        raise NotFound("authority", "this is no authority's ID")
    return text
