"""/v1/federations: other trust domains and their bundles."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.spiffe_id import TrustDomain
from sds.admin import conditional
from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, DryRun, NoQuery
from sds.admin.services import FederationAdmin
from sds.admin.services.versions import federation_version
from sds.admin.wire import federations as wire
from sds.admin.wire.common import Input, read


class Format(Input):
    format: Literal["pem", "spiffe"] = "spiffe"


class FederationRoutes:
    """A relationship's path is the name of the trust domain."""

    def __init__(self, federations: FederationAdmin) -> None:
        self._federations = federations

    def mount(self, app: FastAPI) -> None:
        one = "/v1/federations/{trust_domain}"
        create, source = common.documented(wire.FederationIn), common.documented(wire.SourceIn)
        bundle = common.documented(wire.BundleIn)
        app.get("/v1/federations", operation_id="federation.list")(self.all)
        app.post("/v1/federations", operation_id="federation.create", status_code=201, openapi_extra=create)(
            self.create
        )
        app.get(f"{one}/bundle", operation_id="federation.bundle.show", response_class=Response)(self.bundle)
        app.put(f"{one}/bundle", operation_id="federation.bundle", openapi_extra=bundle)(self.set_bundle)
        app.post(f"{one}:refresh", operation_id="federation.refresh")(self.refresh)
        app.get(one, operation_id="federation.show")(self.get)
        app.put(one, operation_id="federation.update", openapi_extra=source)(self.update)
        app.delete(one, operation_id="federation.delete")(self.delete)

    async def all(self, _query: Annotated[NoQuery, Query()]) -> wire.FederationPage:
        """Every trust domain that is federated with, in order of names."""
        found = await self._federations.all()
        return wire.FederationPage(federations=[wire.federation_out(each) for each in found])

    async def create(
        self, request: Request, response: Response, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.FederationOut:
        """201, or 200 for one that stands already with the same endpoint; its bundle is left alone then."""
        wanted = read(wire.FederationIn, body)
        common.about(request, wanted.trust_domain)
        bundle = None if wanted.bundle is None else wanted.bundle.encode()
        made = await self._federations.create(call, wanted.trust_domain, wanted.source(), bundle)
        response.status_code = 201 if made.created else 200
        return wire.federation_out(made.federation)

    async def get(
        self, response: Response, trust_domain: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.FederationOut:
        """One relationship, and how its bundle stands."""
        info = await self._federations.get(TrustDomain(trust_domain))
        conditional.show_tag(response, federation_version(info.record))
        return wire.federation_out(info)

    async def bundle(self, trust_domain: str, query: Annotated[Format, Query()]) -> Response:
        """The last good bundle: the SPIFFE document, or its certificates as PEM."""
        bundle = await self._federations.bundle(TrustDomain(trust_domain))
        if query.format == "pem":
            return Response(bundle.pem(), media_type="application/x-pem-file")
        return Response(bundle.spiffe_json(), media_type="application/json")

    async def update(
        self, request: Request, call: Call, trust_domain: str, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.FederationOut:
        """Another endpoint; the bundle stays until that one answers."""
        named, wanted = TrustDomain(trust_domain), read(wire.SourceIn, body)
        common.about(request, named)
        condition = conditional.condition_of(request)
        return wire.federation_out(await self._federations.update(call, named, wanted.source(), condition))

    async def set_bundle(
        self, request: Request, call: Call, trust_domain: str, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.FederationOut:
        """Replaces the bundle, whatever its sequence is."""
        named, wanted = TrustDomain(trust_domain), read(wire.BundleIn, body)
        common.about(request, named)
        condition = conditional.condition_of(request)
        return wire.federation_out(await self._federations.set_bundle(call, named, wanted.bundle.encode(), condition))

    async def refresh(
        self, request: Request, call: Call, trust_domain: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.FederationOut:
        """Asks the endpoint now; `problem` says why that failed, if it did."""
        named = TrustDomain(trust_domain)
        common.about(request, named)
        return wire.federation_out(await self._federations.refresh(call, named))

    async def delete(
        self, request: Request, call: Call, trust_domain: str, query: Annotated[DryRun, Query()]
    ) -> wire.DeletedFederationOut:
        """Ends the relationship; what stood, and how many entries still name the trust domain."""
        named = TrustDomain(trust_domain)
        common.about(request, named)
        condition = conditional.condition_of(request)
        if not query.only_say:
            return wire.deleted_out(await self._federations.delete(call, named, condition), dry_run=False)
        info = await self._federations.get(named)
        condition.check(f"federation {named.name}", federation_version(info.record))
        return wire.deleted_out(info, dry_run=True)
