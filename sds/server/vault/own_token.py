"""The JWT-SVID by which this server logs in to Vault: made like any other, audited before it is signed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from datetime import timedelta

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.errors import CaError
from ca.jwt_svid import IssuedJwtSvid, JwtIntent, JwtIssuer, JwtPolicy, JwtRequest, PreparedJwt
from ca.masked import Masked
from ca.profile import SERVER_PATH, ProfileName
from sds.clock import Clock
from sds.server.authorized import check_authority
from sds.server.events import Events, system_actor
from sds.server.jwt.events import token_issue, token_unsigned
from sds.server.jwt.signing import JwtAuthorities
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork
from sds.vault.auth.method import CredentialUnusable

LIFETIME = timedelta(minutes=1)
"""Vault looks at it once, at once."""
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class OwnTokenParts:
    """`policy` is that of all JWT-SVIDs."""

    store: Transactions
    authorities: JwtAuthorities
    events: Events
    trust_domain: TrustDomain
    policy: JwtPolicy
    new_id: Callable[[], str]
    clock: Clock


class OwnToken:
    """Vault may be needed before there are authorities: until `serve` there is no token, and logging in fails."""

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._parts: OwnTokenParts | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self, parts: OwnTokenParts) -> None:
        """From now on tokens are made, in the running event loop."""
        self._parts = parts
        self._loop = asyncio.get_running_loop()

    def mint_blocking(self) -> Masked[str]:
        """For any thread but the event loop's. Raises CredentialUnusable."""
        if self._parts is None or self._loop is None or self._loop.is_closed():
            raise CredentialUnusable("this server cannot make a JWT-SVID for itself yet")
        minting = asyncio.run_coroutine_threadsafe(self._mint(self._parts), self._loop)
        try:
            return minting.result(_PATIENCE)
        except (CaError, StoreError) as error:
            raise CredentialUnusable(f"this server cannot make a JWT-SVID for itself: {error}") from None
        except (TimeoutError, CancelledError):
            minting.cancel()
            raise CredentialUnusable("making a JWT-SVID for this server took too long") from None

    async def _mint(self, parts: OwnTokenParts) -> Masked[str]:
        """Raises CaError, StoreError."""
        issuer = JwtIssuer(parts.policy, parts.new_id, ProfileName.SERVER)
        spiffe_id = SpiffeId(parts.trust_domain, SERVER_PATH)
        ttl = max(LIFETIME, parts.policy.min_ttl)
        authority = parts.authorities.signing_jwt()
        (prepared,) = issuer.prepare([JwtRequest(spiffe_id, (self._audience,), ttl)], authority, parts.clock.now())
        if not isinstance(prepared, PreparedJwt):
            raise prepared
        await parts.store.write(lambda uow: _intend(uow, parts.events, prepared.intent))
        (answer,) = await asyncio.to_thread(issuer.issue, [prepared])
        if isinstance(answer, IssuedJwtSvid):
            return answer.token
        event = token_unsigned(parts.events, parts.clock.now(), prepared.intent, system_actor(), "", reason=str(answer))
        await parts.store.write(lambda uow: uow.audit.append(event))
        raise answer


def _intend(uow: UnitOfWork, events: Events, intent: JwtIntent) -> None:
    """Raises AuthorityUnavailable."""
    check_authority(uow, intent.authority_id)
    uow.audit.append(token_issue(events, uow.now, intent, system_actor(), "", more={"purpose": "login to Vault"}))
