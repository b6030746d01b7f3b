"""The trust domain's X.509 authority in this process: made at first start, opened, watched.

One authority is active at a time, in one database for all replicas. Rotation will move authorities from slot to slot;
this module only sees to it that there is one that can sign.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from attestation.spiffe_id import TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState, SigningAuthority
from ca.checks import check_authority
from ca.errors import AuthorityUnavailable, KeyManagerUnavailable
from ca.jwt_svid import JwtSigningAuthority
from ca.key_manager import KeyManager
from ca.keys import KeyType
from ca.self_signed import self_signed_authority
from sds.audit.event import Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.events import Events, rfc3339, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import Conflict, ConstraintViolated
from sds.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class AuthorityPolicy:
    """What a new authority is like."""

    trust_domain: TrustDomain
    key_type: KeyType
    lifetime: timedelta
    backdate: timedelta


class Authorities:
    """`signing` is what issuance asks; `ensure` and `refresh` keep it true."""

    def __init__(
        self,
        store: Transactions,
        keys: KeyManager,
        policy: AuthorityPolicy,
        serial_source: Callable[[], int],
        events: Events,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keys = keys
        self._policy = policy
        self._serial_source = serial_source
        self._events = events
        self._clock = clock
        self._signing: SigningAuthority | None = None
        self._problem = "there is no active authority"
        self._all: tuple[Authority, ...] = ()
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger(__name__)

    def signing(self) -> SigningAuthority:
        """The authority that signs now. Raises AuthorityUnavailable, which says why there is none."""
        if self._signing is None:
            raise AuthorityUnavailable(self._problem)
        authority = self._signing.authority
        if not authority.usable(self._clock.now()):
            raise AuthorityUnavailable(f"the active authority {authority.id} is valid only {_span(authority)}")
        problem = self._keys.problem(authority.key_ref)
        if problem is not None:  # before an intent is recorded that could not be signed
            raise KeyManagerUnavailable(f"the active authority's key cannot be used now: {problem}")
        return self._signing

    def signing_jwt(self) -> JwtSigningAuthority:
        """The authority that signs tokens now. Raises AuthorityUnavailable, which says why there is none."""
        raise AuthorityUnavailable("there is no active JWT authority")

    def all(self) -> tuple[Authority, ...]:
        """Every X.509 authority, as last read."""
        return self._all

    async def ensure(self) -> None:
        """Make an authority if there is none that can ever sign again. Raises AuthorityUnavailable, StoreError.

        An expired authority is replaced: everything below it has expired with it, so nothing is lost any more. Agents
        then need the new bundle and a new token, and the log says so.
        """
        await self.refresh()
        now = self._clock.now()
        active = self._signing.authority if self._signing is not None else None
        if active is not None and now <= active.not_after:
            return
        if active is not None:
            self._log.error(
                "the authority has expired, and with it every certificate below it; making a new one: give agents "
                "the new bundle (sds bundle show) and new tokens (sds token create)",
                authority_id=active.id,
                expired_at=rfc3339(active.not_after),
            )
        await self._make(active)
        await self.refresh()

    async def refresh(self) -> None:
        """Read the authorities again and open the active one's key. Raises AuthorityUnavailable, StoreError."""
        async with self._one_at_a_time:
            self._all = await self._store.read(lambda uow: uow.authorities.all(AuthorityKind.X509))
            self._check_trust_domain()
            active = next((one for one in self._all if one.state is AuthorityState.ACTIVE), None)
            if active is None:
                self._signing = None
                return
            if self._signing is not None and self._signing.authority == active:
                return
            try:
                signing = SigningAuthority.open(active, await self._keys.signer(active.key_ref))
            except Exception as error:
                self._signing, self._problem = None, f"the active authority's key cannot be used: {error}"
                raise
            self._signing = signing

    def _check_trust_domain(self) -> None:
        for authority in self._all:
            if authority.trust_domain != self._policy.trust_domain:
                raise AuthorityUnavailable(
                    f"the database belongs to the trust domain {authority.trust_domain}, not "
                    f"{self._policy.trust_domain}: use another database"
                )

    async def _make(self, expired: Authority | None) -> None:
        """A new active authority in place of `expired`. When another replica is faster, its authority stands."""
        policy = self._policy
        key = await self._keys.generate(policy.key_type, AuthorityKind.X509)
        now = self._clock.now()
        authority = self_signed_authority(
            policy.trust_domain,
            key.signer,
            key_ref=key.ref,
            key_type=key.key_type,
            serial=self._serial_source(),
            now=now,
            lifetime=policy.lifetime,
            backdate=policy.backdate,
        ).activated(now)
        signing = SigningAuthority.open(authority, key.signer)
        await asyncio.to_thread(check_authority, signing, now, self._serial_source())

        def work(uow: UnitOfWork) -> None:
            if expired is not None:
                uow.authorities.compare_and_swap(expired, replace(expired, state=AuthorityState.OLD))
            uow.authorities.add(authority)
            details = {
                "kind": str(authority.kind),
                "key_type": str(authority.key_type),
                "not_after": rfc3339(authority.not_after),
                "replaces": expired.id if expired is not None else None,
            }
            target = Target("authority", authority.id)
            uow.audit.append(self._events.make(uow.now, "authority.create", system_actor(), target, details=details))

        try:
            await self._store.write(work)
        except (ConstraintViolated, Conflict):
            self._log.info("another replica has just made the authority")
        else:
            self._log.info("made an authority", authority_id=authority.id, not_after=rfc3339(authority.not_after))


def _span(authority: Authority) -> str:
    return f"from {rfc3339(authority.not_before)} to {rfc3339(authority.not_after)}"


def soon_expired(
    authorities: tuple[Authority, ...], now: datetime, before: timedelta, share: int
) -> tuple[Authority, ...]:
    """Active authorities with less than `before` left, or than one part in `share` of their life if that is less."""
    return tuple(
        one
        for one in authorities
        if one.state is AuthorityState.ACTIVE
        and one.not_after - now < min(before, (one.not_after - one.not_before) / share)
    )
