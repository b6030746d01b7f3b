"""/v1/jwt:mint and /v1/jwt:verify."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request

from sds.admin.access.decide import check
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, NoQuery
from sds.admin.services.jwt import JwtAdmin, MintOrder
from sds.admin.wire import jwt
from sds.admin.wire.common import read


class JwtRoutes:
    def __init__(self, tokens: JwtAdmin) -> None:
        self._tokens = tokens

    def mount(self, app: FastAPI) -> None:
        mint, verify = common.documented(jwt.MintIn), common.documented(jwt.VerifyIn)
        app.post("/v1/jwt:mint", operation_id="token.issue", status_code=201, openapi_extra=mint)(self.mint)
        app.post("/v1/jwt:verify", operation_id="token.verify", openapi_extra=verify)(self.verify)

    async def mint(self, request: Request, call: Call, body: Body, _query: Annotated[NoQuery, Query()]) -> jwt.MintOut:
        """A JWT-SVID for an entry or a SPIFFE ID; it is shown only here."""
        wanted = read(jwt.MintIn, body)
        if (wanted.entry_id is None) == (wanted.spiffe_id is None):
            raise InvalidInput([FieldProblem("spiffe_id", "give either this or entry_id")])
        entry_id = None if wanted.entry_id is None else common.entry_id(wanted.entry_id)
        common.about(request, wanted.spiffe_id or entry_id)
        check(call, "token.issue", wanted.spiffe_id)
        order = MintOrder(tuple(wanted.audience), entry_id, wanted.spiffe_id, wanted.ttl_seconds)
        return jwt.mint_out(await self._tokens.mint(call, order))

    async def verify(self, body: Body, _query: Annotated[NoQuery, Query()]) -> jwt.VerifyOut:
        """What a JWT-SVID says, if it may be believed."""
        given = read(jwt.VerifyIn, body)
        return jwt.verify_out(await self._tokens.verify(given.token, given.audience))
