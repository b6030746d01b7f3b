"""JWT-SVIDs for administrators: minted within policy, and validated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.jwt_verify import JwtSvid
from ca.masked import Masked
from sds.admin.services.common import AdminCall


@dataclass(frozen=True, slots=True)
class MintOrder:
    """For an entry, or for a SPIFFE ID whether or not there is an entry for it; exactly one of the two is given.

    `ttl` None: the entry's own, or the server's default.
    """

    audience: tuple[str, ...]
    entry_id: str | None = None
    spiffe_id: SpiffeId | None = None
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A JWT-SVID. It is kept nowhere, so this is the only time it can be shown."""

    token: Masked[str]
    token_id: str
    spiffe_id: SpiffeId
    audience: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    authority_id: str


class JwtAdmin(Protocol):
    async def mint(self, call: AdminCall, order: MintOrder) -> MintedToken:
        """Raises NotFound for an entry that is not there, InvalidInput (fields audience, spiffe_id, entry_id,
        ttl_seconds) for what policy does not allow, IssuanceRefused for what was revoked.
        """
        ...

    async def verify(self, unverified_token: str, audience: str) -> JwtSvid:
        """What the token says to `audience`, by this trust domain's keys and those it federates with. Raises
        InvalidJwtSvid.
        """
        ...
