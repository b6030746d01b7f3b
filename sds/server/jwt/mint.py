"""Tokens that administrators ask for. Implements sds.admin.services.jwt.JwtAdmin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from ca.errors import CaError, IssuanceRefused
from ca.jwt_svid import IssuedJwtSvid, JwtIssuer, JwtPolicy, JwtRequest, PreparedJwt, check_audience
from ca.jwt_verify import JwtSvid, validate
from ca.profile import ProfileName, check_identity
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall
from sds.admin.services.jwt import MintedToken, MintOrder
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.authorized import check_authority
from sds.server.events import Events
from sds.server.jwt.events import token_issue, token_unsigned
from sds.server.jwt.signing import JwtAuthorities
from sds.server.revocation.blocked import Blocked, refuse_blocked
from sds.server.services.common import actor_of
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork


class MintObserver(Protocol):
    """Counts tokens by outcome: success, refused or failure."""

    def issued(self, profile: str, outcome: str) -> None: ...


class JwtService:
    """`bundles` are those by which tokens are validated: our own, and those of federated trust domains."""

    def __init__(
        self,
        store: Transactions,
        trust_domain: TrustDomain,
        issuer: JwtIssuer,
        policy: JwtPolicy,
        authorities: JwtAuthorities,
        events: Events,
        clock: Clock,
        observer: MintObserver,
        bundles: Callable[[], Mapping[TrustDomain, TrustBundle]],
        leeway: timedelta,
    ) -> None:
        self._store = store
        self._trust_domain = trust_domain
        self._issuer = issuer
        self._policy = policy
        self._authorities = authorities
        self._events = events
        self._clock = clock
        self._observer = observer
        self._bundles = bundles
        self._leeway = leeway
        self._log = get_logger(__name__)

    async def verify(self, unverified_token: str, audience: str) -> JwtSvid:
        return validate(unverified_token, self._bundles(), audience, self._clock.now(), self._leeway)

    async def mint(self, call: AdminCall, order: MintOrder) -> MintedToken:
        """1. Judge what is asked, and build. 2. In one transaction: that nothing stands against it, and its event.
        3. Sign. Nothing leaves before all three.
        """
        entry = await self._entry(order)
        spiffe_id = self._judge(order, entry)
        ttl = order.ttl if order.ttl is not None or entry is None else entry.spec.jwt_svid_ttl
        authority = self._authorities.signing_jwt()
        request = JwtRequest(spiffe_id, order.audience, ttl)
        (prepared,) = self._issuer.prepare([request], authority, self._clock.now())
        if not isinstance(prepared, PreparedJwt):
            self._observer.issued("jwt", "refused")
            raise prepared
        await self._store.write(lambda uow: self._intend(uow, call, prepared, entry))
        (answer,) = await asyncio.to_thread(self._issuer.issue, [prepared])
        if not isinstance(answer, IssuedJwtSvid):
            self._observer.issued("jwt", "failure")
            await self._record_failure(call, prepared, answer)
            raise answer
        self._observer.issued("jwt", "success")
        intent = answer.intent
        return MintedToken(
            answer.token,
            intent.token_id,
            intent.spiffe_id,
            intent.audience,
            intent.issued_at,
            intent.expires_at,
            intent.authority_id,
        )

    async def _entry(self, order: MintOrder) -> RegistrationEntry | None:
        """Raises NotFound."""
        wanted = order.entry_id
        return None if wanted is None else await self._store.read(lambda uow: uow.entries.get(wanted))

    def _judge(self, order: MintOrder, entry: RegistrationEntry | None) -> SpiffeId:
        """Whose token it is. Raises InvalidInput with all that is wrong."""
        problems: list[FieldProblem] = []
        field, spiffe_id = ("spiffe_id", order.spiffe_id) if entry is None else ("entry_id", entry.spiffe_id)
        if spiffe_id is None:
            raise InvalidInput([FieldProblem("spiffe_id", "give either this or entry_id")])
        if entry is not None and not entry.live(self._clock.now()):
            problems.append(FieldProblem(field, "this entry has expired"))
        for name, check in (
            (field, lambda: check_identity(ProfileName.WORKLOAD, self._trust_domain, spiffe_id)),
            ("audience", lambda: check_audience(order.audience)),
            ("ttl_seconds", lambda: self._check_ttl(order.ttl)),
        ):
            try:
                check()
            except IssuanceRefused as refusal:
                problems.append(FieldProblem(name, str(refusal)))
        if problems:
            raise InvalidInput(problems)
        return spiffe_id

    def _check_ttl(self, ttl: timedelta | None) -> None:
        """Unlike an entry's, a lifetime that is asked for here and now is not quietly cut. Raises IssuanceRefused."""
        if ttl is not None and self._policy.lifetime(ttl) < ttl:
            raise IssuanceRefused(f"this server allows at most {self._policy.max_ttl.total_seconds():g}s")

    def _intend(self, uow: UnitOfWork, call: AdminCall, prepared: PreparedJwt, entry: RegistrationEntry | None) -> None:
        """Raises NotFound, IssuanceRefused, AuthorityUnavailable."""
        if entry is None:
            refuse_blocked(uow, prepared.intent.spiffe_id, "")
        else:
            standing = uow.entries.get(entry.id)
            if standing.spiffe_id != entry.spiffe_id or Blocked.load(uow).entry(standing):
                raise IssuanceRefused("this entry was revoked or given to another identity")
        check_authority(uow, prepared.intent.authority_id)
        uow.audit.append(
            token_issue(
                self._events,
                uow.now,
                prepared.intent,
                actor_of(call),
                call.request_id,
                entry=None if entry is None else (entry.id, entry.revision),
                more={"user": call.caller.name},
            )
        )

    async def _record_failure(self, call: AdminCall, prepared: PreparedJwt, error: CaError) -> None:
        """It was meant and nothing was signed: the log says so, if it can be written."""
        self._log.error("signing a token failed", token_id=prepared.intent.token_id, reason=str(error))
        event = token_unsigned(
            self._events, self._clock.now(), prepared.intent, actor_of(call), call.request_id, reason=str(error)
        )
        try:
            await self._store.write(lambda uow: uow.audit.append(event))
        except StoreError as problem:
            self._log.error("audit event lost", action=event.action, problem=str(problem))
