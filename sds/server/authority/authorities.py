"""The trust domain's authorities in this process: which of them sign, with their keys opened, and what moves them on.

All replicas share one set in one database. `signing` and `signing_jwt` are what issuance asks; `refresh` reads again
after each change; `tick` does what rotation says is due; the rest is what administrators ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from attestation.spiffe_id import TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState, SigningAuthority
from ca.errors import AuthorityUnavailable, CaError, KeyManagerUnavailable
from ca.gate import Gate
from ca.jwt_svid import JwtSigningAuthority
from ca.key_manager import KeyManager
from ca.rotation import Times, times
from ca.signer import Signer
from sds.clock import Clock
from sds.logs import get_logger
from sds.rotation.acts import Acts
from sds.rotation.executor import Executor
from sds.rotation.look import Look
from sds.rotation.orders import Judge, Orders, as_it_stands
from sds.rotation.ports import RotationObserver, Rules
from sds.rotation.steps import Call, Steps
from sds.server.authority.maker import AuthorityMaker
from sds.server.events import Events, rfc3339
from sds.server.transactions import Transactions
from sds.store.errors import StoreError

T = TypeVar("T")

FOLLOW_UP_SECONDS = 5.0
"""The longest that an administrator waits for what follows from an order, beside the order itself."""


@dataclass(frozen=True, slots=True)
class AuthorityParts:
    """What the authorities of this process are made of."""

    store: Transactions
    keys: KeyManager
    maker: AuthorityMaker
    events: Events
    rules: Rules
    observer: RotationObserver
    trust_domain: TrustDomain
    clock: Clock


class Authorities:
    """Methods that take a `call` raise CaError (RotationRefused where something is not allowed) and StoreError."""

    def __init__(self, parts: AuthorityParts) -> None:
        self._parts = parts
        acts = Acts(parts.store, parts.maker, Steps(parts.events), parts.rules, parts.observer)
        self._executor = Executor(acts, parts.observer)
        self._orders = Orders(acts)
        self._slots: tuple[Authority, ...] = ()
        self._x509: SigningAuthority | None = None
        self._jwt: JwtSigningAuthority | None = None
        self._problems: dict[AuthorityKind, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._following: set[asyncio.Task[None]] = set()
        self._log = get_logger(__name__)

    # Reading

    def signing(self) -> SigningAuthority:
        """The authority that signs certificates now. Raises AuthorityUnavailable, which says why there is none."""
        if self._x509 is None:
            raise self._missing(AuthorityKind.X509)
        self._check_usable(self._x509.authority)
        return self._x509

    def signing_jwt(self) -> JwtSigningAuthority:
        """The authority that signs tokens now. Raises AuthorityUnavailable, which says why there is none."""
        if self._jwt is None:
            raise self._missing(AuthorityKind.JWT)
        self._check_usable(self._jwt.authority)
        return self._jwt

    def slots(self, kind: AuthorityKind | None = None) -> tuple[Authority, ...]:
        """Every authority, or every one of a kind, as last read, oldest first."""
        return tuple(one for one in self._slots if kind is None or one.kind is kind)

    def all(self) -> tuple[Authority, ...]:
        """Every authority of either kind, as last read."""
        return self._slots

    def timetable(self, authority: Authority) -> Times | None:
        """When the successor of an active authority is due; None for one that is not active."""
        if authority.state is not AuthorityState.ACTIVE:
            return None
        return times(authority, self._parts.rules.policy)

    async def signer(self, authority: Authority) -> Signer:
        """The key of an authority in whatever state, for CRLs and OCSP answers. Raises AuthorityUnavailable."""
        return await self._parts.keys.signer(authority.key_ref)

    async def look(self) -> Look:
        """All slots and the whole fleet at this moment, with what is due. Raises StoreError."""
        return await self._orders.look()

    async def gate(self, authority_id: str) -> Gate:
        """Who would not accept what this authority issues. Raises NotFound, StoreError."""
        return await self._orders.gate(authority_id)

    # Keeping up

    async def ensure(self) -> None:
        """At start: make what is missing and can never sign again, then open what signs. Raises CaError, StoreError."""
        await self._read()
        await self._executor.tick(hold=False)
        await self.refresh()
        if self._x509 is None:
            raise AuthorityUnavailable(self._executor.problems.get(AuthorityKind.X509, "there is no active authority"))

    async def tick(self) -> None:
        """Do what is due, and try again to open what could not be. Raises StoreError."""
        done = await self._executor.tick()
        if done or self._problems:
            await self._refresh_quietly()

    async def refresh(self) -> None:
        """Read the authorities again and open those that sign. Raises CaError, StoreError."""
        async with self._one_at_a_time:
            await self._read()
            failures = [
                error
                for error in (await self._open(AuthorityKind.X509), await self._open(AuthorityKind.JWT))
                if error is not None
            ]
        if failures:
            raise failures[0]

    # What administrators ask for

    async def prepare(self, kind: AuthorityKind, call: Call) -> Authority:
        """Make and publish the next authority now. Refused while one is prepared already."""
        return await self._obey(self._orders.prepare(kind, call))

    async def activate(
        self,
        authority_id: str,
        call: Call,
        *,
        force: bool = False,
        cross_sign: bool = False,
        judge: Judge = as_it_stands,
    ) -> Authority:
        """Sign with it from now on. Raises GateClosed unless `force`. `cross_sign` and `judge`: see Orders."""
        order = self._orders.activate(authority_id, call, force=force, cross_sign=cross_sign, judge=judge)
        return await self._obey(order)

    async def taint(self, authority_id: str, call: Call, *, judge: Judge = as_it_stands) -> Authority:
        """It signs no more, and agents replace what it issued; if it was active, the next one is prepared at once and
        signs when its gate opens.
        """
        return await self._obey(self._orders.taint(authority_id, call, judge=judge))

    async def revoke(
        self, authority_id: str, call: Call, *, force: bool = False, judge: Judge = as_it_stands
    ) -> Authority:
        """Out of the bundle at once. The active one only with `force`, which activates another one first."""
        return await self._obey(self._orders.revoke(authority_id, call, force=force, judge=judge))

    async def drop(self, authority_id: str, call: Call) -> None:
        """Forget it before rotation does. Refused while something that it issued may be valid."""
        await self._obey(self._orders.drop(authority_id, call))

    async def _obey(self, order: Awaitable[T]) -> T:
        """What follows from it happens now, and goes on behind the answer if an upstream or a token takes its time."""
        value = await order
        await self._refresh_quietly()
        following = asyncio.create_task(self._follow_up())
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        await asyncio.wait({following}, timeout=FOLLOW_UP_SECONDS)
        return value

    async def _follow_up(self) -> None:
        try:
            await self.tick()
        except StoreError as error:
            self._log.warning("what follows from the change waits for the next tick", reason=str(error))

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except (CaError, StoreError) as error:  # told by `_open`, or by whoever asks for a signature
            self._log.debug("the authorities could not be read again", reason=str(error))

    async def _read(self) -> None:
        slots = await self._parts.store.read(lambda uow: uow.authorities.all())
        ours = self._parts.trust_domain
        for authority in slots:
            if authority.trust_domain != ours:
                raise AuthorityUnavailable(
                    f"the database belongs to the trust domain {authority.trust_domain}, not {ours}: "
                    "use another database"
                )
        self._slots = slots

    async def _open(self, kind: AuthorityKind) -> CaError | None:
        """Open the key of the active authority if another one is open; what could not be opened signs nothing."""
        active = next((one for one in self.slots(kind) if one.state is AuthorityState.ACTIVE), None)
        standing = self._x509 if kind is AuthorityKind.X509 else self._jwt
        if standing is not None and standing.authority == active:
            return None
        problem: CaError | None = None
        opened: SigningAuthority | JwtSigningAuthority | None = None
        try:
            if active is not None:
                maker = self._parts.maker
                opened = await (maker.open_x509(active) if kind is AuthorityKind.X509 else maker.open_jwt(active))
        except CaError as error:
            problem = error
        if kind is AuthorityKind.X509:
            self._x509 = opened if isinstance(opened, SigningAuthority) else None
        else:
            self._jwt = opened if isinstance(opened, JwtSigningAuthority) else None
        self._tell(kind, problem)
        return problem

    def _tell(self, kind: AuthorityKind, problem: CaError | None) -> None:
        before = self._problems.pop(kind, None)
        if problem is None:
            if before is not None:
                self._log.info("the active authority's key can be used again", kind=str(kind))
            return
        text = self._problems[kind] = f"the active authority's key cannot be used: {problem}"
        if text != before:
            self._log.error("the active authority's key cannot be used", kind=str(kind), reason=str(problem))

    def _missing(self, kind: AuthorityKind) -> AuthorityUnavailable:
        return AuthorityUnavailable(self._problems.get(kind, f"there is no active {kind} authority"))

    def _check_usable(self, authority: Authority) -> None:
        now = self._parts.clock.now()
        if not authority.usable(now):
            raise AuthorityUnavailable(f"the active authority {authority.id} {_why_not(authority)}")
        problem = self._parts.keys.problem(authority.key_ref)
        if problem is not None:  # before an intent is recorded that could not be signed
            raise KeyManagerUnavailable(f"the active authority's key cannot be used now: {problem}")


def _why_not(authority: Authority) -> str:
    if authority.tainted or authority.revoked:
        return "was taken back; the next one signs as soon as it may"
    return f"is valid only from {rfc3339(authority.not_before)} to {rfc3339(authority.not_after)}"


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
