"""Other trust domains as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import TrustDomain
from ca.bundle import MAX_BUNDLE_BYTES
from sds.admin.services import FederationInfo
from sds.admin.wire.common import Input, Output, SpiffeIdField, TimeOut, seconds
from sds.store.federations import BundleSource, EndpointProfile

Profile = Literal["https_web", "https_spiffe", "static"]
MAX_URL = 2048


def _trust_domain(value: object) -> TrustDomain:
    if not isinstance(value, str):
        raise PydanticCustomError("value", "must be a string")
    try:
        return TrustDomain.parse(value)
    except InvalidSpiffeId as error:
        raise PydanticCustomError("value", "{problem}", {"problem": str(error)}) from None


def _bounded(most: int) -> PlainValidator:
    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise PydanticCustomError("value", "must be a string of at most {most} characters", {"most": most})
        return value

    return PlainValidator(check)


TrustDomainField = Annotated[TrustDomain, PlainValidator(_trust_domain), WithJsonSchema({"type": "string"})]
UrlField = Annotated[str, _bounded(MAX_URL), WithJsonSchema({"type": "string", "maxLength": MAX_URL})]
BundleField = Annotated[
    str, _bounded(MAX_BUNDLE_BYTES), WithJsonSchema({"type": "string", "maxLength": MAX_BUNDLE_BYTES})
]


class SourceIn(Input):
    """The parameters of a bundle endpoint (SPIFFE Federation 5.1)."""

    profile: Profile
    endpoint_url: UrlField = ""
    endpoint_id: SpiffeIdField | None = None

    def source(self) -> BundleSource:
        return BundleSource(EndpointProfile(self.profile), self.endpoint_url, self.endpoint_id)


class FederationIn(SourceIn):
    trust_domain: TrustDomainField
    bundle: BundleField | None = None


class BundleIn(Input):
    """PEM certificates or a SPIFFE bundle document, as text."""

    bundle: BundleField


class FederationOut(Output):
    """`sequence` is null while there is no bundle. `problem` is what the last poll failed with, or empty."""

    trust_domain: str
    profile: str
    endpoint_url: str
    endpoint_id: str | None
    sequence: int | None
    x509_authorities: int
    jwt_authorities: int
    refresh_hint: int | float | None
    fetched_at: TimeOut | None
    tried_at: TimeOut | None
    problem: str
    created_at: TimeOut | None
    updated_at: TimeOut | None
    entries: int


class DeletedFederationOut(FederationOut):
    """`dry_run`: nothing was done. `entries`: of how many the workloads lose the bundle."""

    dry_run: bool


class FederationPage(Output):
    federations: list[FederationOut]


def federation_out(info: FederationInfo) -> FederationOut:
    return FederationOut(**_common(info))


def deleted_out(info: FederationInfo, *, dry_run: bool) -> DeletedFederationOut:
    return DeletedFederationOut(**_common(info), dry_run=dry_run)


def _common(info: FederationInfo) -> dict[str, Any]:
    record, bundle = info.record, info.record.bundle
    return {
        "trust_domain": record.trust_domain.name,
        "profile": record.source.profile.value,
        "endpoint_url": record.source.endpoint_url,
        "endpoint_id": None if record.source.endpoint_id is None else str(record.source.endpoint_id),
        "sequence": None if bundle is None else bundle.sequence,
        "x509_authorities": 0 if bundle is None else len(bundle.x509_authorities),
        "jwt_authorities": 0 if bundle is None else len(bundle.jwt_keys),
        "refresh_hint": None if bundle is None else seconds(bundle.refresh_hint),
        "fetched_at": record.fetched_at,
        "tried_at": record.tried_at,
        "problem": record.problem,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "entries": info.entries,
    }
