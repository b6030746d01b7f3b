"""/v1/bundle, /v1/tokens and /v1/kek:rotate: what trust starts from."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from sds.admin.access.decide import permitted
from sds.admin.routes import common
from sds.admin.routes.common import Call, DryRun, NoQuery, OptionalBody
from sds.admin.services import BundleAdmin, KekAdmin, TokenAdmin
from sds.admin.wire import views
from sds.admin.wire.common import Input, read


class Format(Input):
    format: Literal["pem", "spiffe"] = "pem"


class TrustRoutes:
    def __init__(self, bundle: BundleAdmin, tokens: TokenAdmin, kek: KekAdmin) -> None:
        self._bundle = bundle
        self._tokens = tokens
        self._kek = kek

    def mount(self, app: FastAPI) -> None:
        token = common.documented(views.TokenIn)
        app.get("/v1/bundle", operation_id="bundle.show", response_class=Response)(self.bundle)
        app.post("/v1/tokens", operation_id="token.create", status_code=201, openapi_extra=token)(self.token)
        app.post("/v1/kek:rotate", operation_id="kek.rotate")(self.rotate)

    async def bundle(self, query: Annotated[Format, Query()]) -> Response:
        """The trust bundle: PEM certificates, or the SPIFFE bundle document."""
        bundle = await self._bundle.current()
        if query.format == "pem":
            return Response(bundle.pem(), media_type="application/x-pem-file")
        return Response(bundle.spiffe_json(), media_type="application/json")

    async def token(
        self, request: Request, call: Call, body: OptionalBody, _query: Annotated[NoQuery, Query()]
    ) -> views.TokenOut:
        """A one-time join token; it is shown only here."""
        wanted = read(views.TokenIn, body)
        if wanted.spiffe_id is not None:
            common.about(request, wanted.spiffe_id)
        if wanted.downstream:
            permitted(call, "token.create.downstream")
        issued = await self._tokens.create(call, wanted.ttl_seconds, wanted.spiffe_id, downstream=wanted.downstream)
        return views.token_out(issued)

    async def rotate(self, call: Call, query: Annotated[DryRun, Query()]) -> views.KekOut:
        """Re-wraps every key under a new key-encryption key. A dry run says how many there are."""
        rotation = await (self._kek.plan() if query.only_say else self._kek.rotate(call))
        return views.kek_out(rotation, dry_run=query.only_say)
