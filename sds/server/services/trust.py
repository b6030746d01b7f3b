"""Join tokens, the trust bundle and the key-encryption key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from attestation.errors import InvalidEntry
from attestation.node.join_token import TOKEN_BYTES, encode_token, generated_agent_id, hash_token
from attestation.rules import check_agent_id
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from ca.masked import Masked
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, IssuedToken, KekRotation
from sds.audit.event import Json, Target
from sds.durations import format_duration
from sds.server.access.naming import check_agent
from sds.server.authority.custody import Custody
from sds.server.events import rfc3339
from sds.server.services.common import Desk, actor_of
from sds.store.errors import NotFound
from sds.store.unit_of_work import UnitOfWork

MIN_TTL = timedelta(seconds=1)
_AGENT_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    trust_domain: TrustDomain
    default_ttl: timedelta
    max_ttl: timedelta


class TokenService:
    """Implements sds.admin.services.TokenAdmin. `random_bytes` must be fit for secrets (os.urandom)."""

    def __init__(self, desk: Desk, policy: TokenPolicy, random_bytes: Callable[[int], bytes]) -> None:
        self._desk = desk
        self._policy = policy
        self._random_bytes = random_bytes

    async def create(
        self, call: AdminCall, ttl: timedelta | None, spiffe_id: SpiffeId | None, *, downstream: bool = False
    ) -> IssuedToken:
        lifetime = self._policy.default_ttl if ttl is None else ttl
        self._check(lifetime, spiffe_id)
        agent_id = spiffe_id or generated_agent_id(self._policy.trust_domain, self._random_bytes(_AGENT_ID_BYTES))
        token = Masked(encode_token(self._random_bytes(TOKEN_BYTES)))
        token_hash = hash_token(token.reveal())

        def work(uow: UnitOfWork) -> IssuedToken:
            check_agent(uow, call, agent_id)
            _refuse_banned(uow, agent_id)
            record = uow.tokens.create(token_hash, agent_id, uow.now + lifetime, downstream=downstream)
            details: dict[str, Json] = {"token_hash": token_hash[:16], "expires_at": rfc3339(record.expires_at)}
            if downstream:
                details["downstream"] = True
            target = Target("agent", str(agent_id))
            uow.audit.append(self._desk.event(uow.now, call, "token.create", target, details))
            return IssuedToken(token, agent_id, record.expires_at)

        return await self._desk.store.write(work)

    def _check(self, lifetime: timedelta, spiffe_id: SpiffeId | None) -> None:
        problems = []
        if not MIN_TTL <= lifetime <= self._policy.max_ttl:
            span = f"{format_duration(MIN_TTL)} to {format_duration(self._policy.max_ttl)}"
            problems.append(FieldProblem("ttl_seconds", f"this server allows {span}"))
        if spiffe_id is not None:
            try:
                check_agent_id(spiffe_id, self._policy.trust_domain)
            except InvalidEntry as problem:
                problems.append(FieldProblem("spiffe_id", problem.problem))
        if problems:
            raise InvalidInput(problems)


def _refuse_banned(uow: UnitOfWork, agent_id: SpiffeId) -> None:
    try:
        banned = uow.agents.get(agent_id).banned
    except NotFound:
        return
    if banned:
        raise InvalidInput([FieldProblem("spiffe_id", "this agent is banned; delete it first")])


class BundleService:
    """Implements sds.admin.services.BundleAdmin."""

    def __init__(self, bundle: Callable[[], TrustBundle]) -> None:
        self._bundle = bundle

    async def current(self) -> TrustBundle:
        return self._bundle()


class KekService:
    """Implements sds.admin.services.KekAdmin."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody

    async def rotate(self, call: AdminCall) -> KekRotation:
        old_id, new_id, rewrapped = await self._custody.rotate(actor_of(call), call.request_id)
        return KekRotation(old_id, new_id, rewrapped, self._custody.shared)

    async def plan(self) -> KekRotation:
        old_id, wrapped = await self._custody.plan()
        return KekRotation(old_id, "", wrapped, self._custody.shared)
