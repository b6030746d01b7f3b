"""JWT-SVIDs as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ca.jwt_verify import JwtSvid
from sds.admin.services.jwt import MintedToken
from sds.admin.wire.common import DurationField, Input, Output, SpiffeIdField, TimeOut

MAX_AUDIENCES = 64
MAX_TOKEN = 64 * 1024

Audience = Annotated[str, Field(max_length=4096)]


class MintIn(Input):
    audience: Annotated[list[Audience], Field(max_length=MAX_AUDIENCES)]
    entry_id: Annotated[str, Field(max_length=128)] | None = None
    spiffe_id: SpiffeIdField | None = None
    ttl_seconds: DurationField | None = None


class MintOut(Output):
    """Carries a secret; it is written by `reveal` in one place and never logged."""

    token: str
    token_id: str
    spiffe_id: str
    audience: list[str]
    issued_at: TimeOut
    expires_at: TimeOut
    authority_id: str


class VerifyIn(Input):
    token: Annotated[str, Field(max_length=MAX_TOKEN)]
    audience: Audience


class VerifyOut(Output):
    spiffe_id: str
    audience: list[str]
    expires_at: TimeOut
    key_id: str
    claims: dict[str, Any]


def mint_out(minted: MintedToken) -> MintOut:
    return MintOut(
        token=minted.token.reveal(),
        token_id=minted.token_id,
        spiffe_id=str(minted.spiffe_id),
        audience=list(minted.audience),
        issued_at=minted.issued_at,
        expires_at=minted.expires_at,
        authority_id=minted.authority_id,
    )


def verify_out(svid: JwtSvid) -> VerifyOut:
    return VerifyOut(
        spiffe_id=str(svid.spiffe_id),
        audience=list(svid.audience),
        expires_at=svid.expires_at,
        key_id=svid.key_id,
        claims=dict(svid.claims),
    )
