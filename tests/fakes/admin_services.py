"""The admin services in memory, with real logic: what a store and an audit log would do, without either."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle
from ca.jwt_verify import JwtSvid
from ca.jwt_verify import validate as validate_jwt
from ca.masked import Masked
from sds.admin.access.decide import in_scopes
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import (
    AdminCall,
    AdminServices,
    AgentInfo,
    AgentQuery,
    IssuedToken,
    KekRotation,
    MintedToken,
    MintOrder,
    Page,
    StreamInfo,
    StreamQuery,
)
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import agent_version
from sds.audit.event import Outcome
from sds.store.errors import NotFound
from tests.fakes.admin_audit import FakeAudit
from tests.fakes.admin_authorities import FakeAuthorities
from tests.fakes.admin_certificates import FakeCertificates
from tests.fakes.admin_entries import TD, FakeEntries
from tests.fakes.admin_federations import FakeFederations
from tests.fakes.admin_idempotency import FakeIdempotency
from tests.fakes.admin_insight import FakeExplain, FakeStatistics
from tests.fakes.admin_ledger import FakeLedger
from tests.fakes.admin_notices import FakeNotices
from tests.fakes.admin_pages import page
from tests.fakes.admin_revocations import FakeRevocations
from tests.fakes.admin_secrets import FakeGrants, FakeSecrets
from tests.fakes.admin_sinks import FakeSinks
from tests.fakes.jwt import bundles_of, issue_jwt, make_jwt_authority


class FakeAgents:
    def __init__(self, now: Callable[[], datetime], audit: FakeAudit) -> None:
        self._now = now
        self._audit = audit
        self.rows: dict[SpiffeId, AgentInfo] = {}

    async def find(self, query: AgentQuery) -> Page[AgentInfo]:
        found = [
            a
            for a in self.rows.values()
            if query.banned in (None, a.banned_at is not None)
            and query.attestation_type in (None, a.attestation_type)
            and (query.below is None or a.spiffe_id.below(query.below.path))
            and query.version in (None, a.version)
            and query.downstream in (None, a.downstream)
            and (query.silent_since is None or (a.last_seen or a.attested_at) < query.silent_since)
            and (not query.scopes or in_scopes(query.scopes, a.spiffe_id))
        ]
        keys = {
            "spiffe_id": lambda a: str(a.spiffe_id),
            "attested": lambda a: a.attested_at,
            "expires": lambda a: a.not_after,
        }
        found.sort(key=keys[query.order.removeprefix("-")], reverse=query.order.startswith("-"))
        return page(found, query.limit, query.cursor)

    async def get(self, spiffe_id: SpiffeId) -> AgentInfo:
        if spiffe_id not in self.rows:
            raise NotFound("agent", str(spiffe_id))
        return self.rows[spiffe_id]

    async def ban(self, call: AdminCall, spiffe_id: SpiffeId, reason: str, condition: Condition = ANY) -> AgentInfo:
        agent = await self.get(spiffe_id)
        condition.check(f"agent {spiffe_id}", agent_version(agent))
        await self._audit.append(call, "agent.ban", str(spiffe_id), Outcome.SUCCESS, reason)
        self.rows[spiffe_id] = replace(agent, banned_at=self._now(), banned_reason=reason, connected=False)
        return self.rows[spiffe_id]

    async def delete(self, call: AdminCall, spiffe_id: SpiffeId, condition: Condition = ANY) -> AgentInfo:
        condition.check(f"agent {spiffe_id}", agent_version(await self.get(spiffe_id)))
        await self._audit.append(call, "agent.delete", str(spiffe_id), Outcome.SUCCESS)
        return self.rows.pop(spiffe_id)


class FakeStreams:
    def __init__(self) -> None:
        self.rows: list[StreamInfo] = []

    async def find(self, query: StreamQuery) -> Page[StreamInfo]:
        found = [
            s
            for s in self.rows
            if query.agent_id in (None, s.agent_id)
            and (query.spiffe_id is None or str(query.spiffe_id) in s.spiffe_ids)
            and query.node_id in (None, s.node_id)
            and query.protocol in (None, s.protocol)
            and (query.resource is None or any(query.resource == one.name for one in s.resources))
            and query.nacked in (None, s.nacked)
            and query.behind in (None, s.behind)
        ]
        keys = {"agent": lambda s: (str(s.agent_id), s.id), "opened": lambda s: s.opened_at, "lag": lambda s: s.lag}
        found.sort(key=keys[query.order.removeprefix("-")], reverse=query.order.startswith("-"))
        return page(found, query.limit, query.cursor)


class FakeTokens:
    def __init__(self, now: Callable[[], datetime], audit: FakeAudit) -> None:
        self._now = now
        self._audit = audit
        self._numbers = itertools.count(1)
        self.downstream: list[bool] = []

    async def create(
        self, call: AdminCall, ttl: timedelta | None, spiffe_id: SpiffeId | None, *, downstream: bool = False
    ) -> IssuedToken:
        self.downstream.append(downstream)
        ttl = timedelta(minutes=10) if ttl is None else ttl
        if not timedelta(seconds=1) <= ttl <= timedelta(days=1):
            raise InvalidInput([FieldProblem("ttl_seconds", "must be from 1s to 1d")])
        number = next(self._numbers)
        named = spiffe_id or SpiffeId(TD, f"/sds/agent/join_token/{number:032x}")
        await self._audit.append(call, "token.create", str(named), Outcome.SUCCESS)
        return IssuedToken(Masked(f"the-secret-token-{number}"), named, self._now() + ttl)


class FakeBundle:
    def __init__(self, authorities: tuple[bytes, ...]) -> None:
        self.bundle = TrustBundle(TD, authorities, 7)

    async def current(self) -> TrustBundle:
        return self.bundle


class FakeKek:
    def __init__(self, audit: FakeAudit) -> None:
        self._audit = audit
        self.number = 1

    async def plan(self) -> KekRotation:
        return KekRotation(f"{self.number:08x}", "", 3)

    async def rotate(self, call: AdminCall) -> KekRotation:
        await self._audit.append(call, "kek.rotate", "", Outcome.SUCCESS)
        self.number += 1
        return KekRotation(f"{self.number - 1:08x}", f"{self.number:08x}", 3)


class FakeJwt:
    """Tokens of a real authority; everything but the policy is the CA's own."""

    def __init__(self, now: Callable[[], datetime], audit: FakeAudit) -> None:
        self._now = now
        self._audit = audit
        self.authority = make_jwt_authority(TD, now=now() - timedelta(days=1))
        self.orders: list[MintOrder] = []

    async def mint(self, call: AdminCall, order: MintOrder) -> MintedToken:
        self.orders.append(order)
        if order.entry_id is not None and order.spiffe_id is None:
            raise NotFound("entry", order.entry_id)
        if order.ttl is not None and order.ttl > timedelta(hours=1):
            raise InvalidInput([FieldProblem("ttl_seconds", "this server allows at most 3600s")])
        intent, token = issue_jwt(self.authority, str(order.spiffe_id), order.audience, ttl=order.ttl, now=self._now())
        await self._audit.append(call, "token.issue", intent.token_id, Outcome.SUCCESS)
        times = intent.issued_at, intent.expires_at
        return MintedToken(token, intent.token_id, intent.spiffe_id, intent.audience, *times, intent.authority_id)

    async def verify(self, unverified_token: str, audience: str) -> JwtSvid:
        return validate_jwt(unverified_token, bundles_of(self.authority), audience, self._now())


class FakeServices:
    """All of them over one audit log; `.services` is what `create_app` takes."""

    def __init__(self, now: Callable[[], datetime], authorities: tuple[bytes, ...] = ()) -> None:
        self.audit = FakeAudit(now)
        self.entries = FakeEntries(now, self.audit)
        self.agents = FakeAgents(now, self.audit)
        self.streams = FakeStreams()
        self.tokens = FakeTokens(now, self.audit)
        self.bundle = FakeBundle(authorities)
        self.kek = FakeKek(self.audit)
        self.authorities = FakeAuthorities(now, self.audit.append)
        self.jwt = FakeJwt(now, self.audit)
        self.federations = FakeFederations(now, self.audit.append, TD)
        self.revocations = FakeRevocations(now, self.audit.append, TD)
        self.secrets = FakeSecrets(now, self.audit.append, self.entries.rows.values)
        self.grants = FakeGrants(now, self.audit.append, self.secrets, TD)
        self.certificates = FakeCertificates(lambda: self.streams.rows)
        self.explain = FakeExplain(now, self.entries.rows.values)
        self.idempotency = FakeIdempotency()
        self.statistics = FakeStatistics(now, lambda: len(self.entries.rows))
        self.notices = FakeNotices()
        self.ledger = FakeLedger(now, lambda: self.audit.rows, self.audit.append, self.audit.read)
        self.services = AdminServices(
            entries=self.entries,
            agents=self.agents,
            streams=self.streams,
            tokens=self.tokens,
            bundle=self.bundle,
            kek=self.kek,
            authorities=self.authorities,
            jwt=self.jwt,
            federations=self.federations,
            revocations=self.revocations,
            secrets=self.secrets,
            grants=self.grants,
            audit=self.audit,
            ledger=self.ledger,
            sinks=FakeSinks(),
            notices=self.notices,
            certificates=self.certificates,
            explain=self.explain,
            statistics=self.statistics,
            idempotency=self.idempotency,
        )
