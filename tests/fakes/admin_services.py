"""The admin services in memory, with real logic: what a store and an audit log would do, without either."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import TypeVar

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.rules import diff, normalise
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from ca.jwt_verify import JwtSvid
from ca.jwt_verify import validate as validate_jwt
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.masked import Masked
from ca.profile import Profile, default_profiles
from sds.admin.access.decide import in_scopes
from sds.admin.apply import Step, key_of, plan
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import (
    AdminCall,
    AdminServices,
    AgentInfo,
    AgentQuery,
    ApplyAction,
    ApplyChange,
    ApplyItem,
    AuditQuery,
    AuditRow,
    CreatedEntry,
    DeletedEntry,
    EntryQuery,
    IssuedToken,
    KekRotation,
    MintedToken,
    MintOrder,
    Page,
    PruneScope,
    StreamInfo,
    StreamQuery,
)
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.server.services.entry_policy import EntryPolicy
from sds.store.errors import AlreadyExists, Conflict, InvalidCursor, NotFound
from tests.fakes.admin_authorities import FakeAuthorities
from tests.fakes.admin_certificates import FakeCertificates
from tests.fakes.admin_federations import FakeFederations
from tests.fakes.admin_idempotency import FakeIdempotency
from tests.fakes.admin_insight import FakeExplain, FakeStatistics
from tests.fakes.admin_ledger import FakeLedger
from tests.fakes.admin_notices import FakeNotices
from tests.fakes.admin_revocations import FakeRevocations
from tests.fakes.admin_secrets import FakeGrants, FakeSecrets
from tests.fakes.admin_sinks import FakeSinks
from tests.fakes.jwt import bundles_of, issue_jwt, make_jwt_authority

T = TypeVar("T")

TD = TrustDomain("example.org")
GATEWAY = Profile(
    "gateway",
    max_ttl=timedelta(hours=2),
    names=NameLimits(
        dns=(".example.org",), wildcards=False, max_dns=2, ip=(ip_network("10.0.0.0/8"),), email=("example.org",)
    ),
    subject=SubjectLimits(allowed={"CN": 20}),
)
WORKLOAD = Profile("workload", min_ttl=timedelta(seconds=5), max_ttl=timedelta(days=1))
PROFILES = {**default_profiles(), "workload": WORKLOAD, "gateway": GATEWAY}


def page(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    start = 0
    if cursor is not None:
        if not cursor.isdigit():
            raise InvalidCursor
        start = int(cursor)
    end = start + limit
    return Page(tuple(items[start:end]), str(end) if end < len(items) else None)


def _matches(row: AuditRow, query: AuditQuery) -> bool:
    event = row.event
    wanted = query.action or event.action
    return (
        row.sequence > (query.after or 0)
        and (event.action.startswith(wanted) if wanted.endswith(".") else event.action == wanted)
        and query.outcome in (None, event.outcome.value)
        and query.actor in (None, event.actor.id)
        and query.target in (None, event.target.id)
        and query.request_id in (None, event.request_id)
        and (query.since is None or event.time >= query.since)
        and (query.until is None or event.time < query.until)
        and (query.before is None or row.sequence < query.before)
    )


class FakeAudit:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._arrived = asyncio.Condition()
        self.rows: list[AuditRow] = []
        self.reads: list[tuple[str, str, str]] = []  # caller, operation, filter: beside the rows, which tests count
        self.fail: Exception | None = None  # raised by the next append

    async def append(self, call: AdminCall, action: str, target: str, outcome: Outcome, reason: str = "") -> None:
        if self.fail is not None:
            raise self.fail
        number = len(self.rows) + 1
        event = AuditEvent(
            id=f"{number:032x}",
            time=self._now(),
            action=action,
            outcome=outcome,
            actor=Actor(ActorKind.ADMIN, call.caller.id, call.caller.address),
            target=Target(action.split(".", maxsplit=1)[0], target),
            reason=reason,
            request_id=call.request_id,
            node="fake",
        )
        self.rows.append(AuditRow(number, event))
        async with self._arrived:
            self._arrived.notify_all()

    async def refused(self, call: AdminCall, action: str, target: str, reason: str) -> None:
        await self.append(call, action, target, Outcome.REFUSED, reason)

    async def noted(self, call: AdminCall, operation: str, asked: str) -> None:
        if self.fail is not None:
            raise self.fail
        self.reads.append((call.caller.id, operation, asked))

    def _matching(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        rows = [row for row in self.rows if _matches(row, query)]
        return tuple(rows[-query.limit :] if query.after is None else rows[: query.limit])

    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow, ...]:
        async with self._arrived:
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._arrived.wait_for(lambda: bool(self._matching(query)))
            except TimeoutError:
                return self._matching(query)
        return self._matching(query)


class FakeEntries:
    def __init__(self, now: Callable[[], datetime], audit: FakeAudit, trust_domain: TrustDomain = TD) -> None:
        self._now = now
        self._audit = audit
        self._trust_domain = trust_domain
        self._numbers = itertools.count(1)
        self.rows: dict[str, RegistrationEntry] = {}
        self.expires: dict[str, datetime] = {}  # by entry: when its last certificate does
        self.fail: Exception | None = None

    def problems(self, spec: EntrySpec) -> list[FieldProblem]:
        return list(EntryPolicy(self._trust_domain, PROFILES).problems(spec))

    def _check(self, spec: EntrySpec) -> None:
        if self.fail is not None:
            raise self.fail
        if problems := self.problems(spec):
            raise InvalidInput(problems)

    def _same_key(self, spec: EntrySpec, but: str = "") -> RegistrationEntry | None:
        return next((e for e in self.rows.values() if key_of(e.spec) == key_of(spec) and e.id != but), None)

    async def create(self, call: AdminCall, spec: EntrySpec) -> CreatedEntry:
        self._check(spec)
        spec = normalise(spec)
        if standing := self._same_key(spec):
            if diff(standing.spec, spec):
                raise AlreadyExists(standing)
            return CreatedEntry(standing, created=False)
        entry = await self._insert(call, spec)
        return CreatedEntry(entry, created=True)

    async def _insert(self, call: AdminCall, spec: EntrySpec) -> RegistrationEntry:
        entry = RegistrationEntry(f"e{next(self._numbers):08}", 1, self._now(), self._now(), spec)
        await self._audit.append(call, "entry.create", entry.id, Outcome.SUCCESS)
        self.rows[entry.id] = entry
        return entry

    async def get(self, entry_id: str) -> RegistrationEntry:
        if self.fail is not None:
            raise self.fail
        if entry_id not in self.rows:
            raise NotFound("entry", entry_id)
        return self.rows[entry_id]

    async def find(self, query: EntryQuery) -> Page[RegistrationEntry]:
        if self.fail is not None:
            raise self.fail
        found = [
            e
            for e in self.rows.values()
            if query.spiffe_id in (None, e.spiffe_id)
            and query.parent_id in (None, e.parent_id)
            and (query.selector is None or query.selector in e.selectors)
            and query.owner in (None, e.spec.owner)
            and query.hint in (None, e.spec.hint)
            and query.profile in (None, e.spec.profile)
            and query.labels.items() <= e.spec.labels.items()
            and (query.below is None or e.spiffe_id.below(query.below.path))
            and query.expired in (None, not e.live(self._now()))
            and (not query.scopes or in_scopes(query.scopes, e.spiffe_id, e.spec.labels))
        ]
        keys = {
            "created": lambda e: (e.created_at, e.id),
            "updated": lambda e: e.updated_at,
            "spiffe_id": lambda e: str(e.spiffe_id),
        }
        found.sort(key=keys[query.order.removeprefix("-")], reverse=query.order.startswith("-"))
        return page(found, query.limit, query.cursor)

    async def update(
        self, call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> RegistrationEntry:
        self._check(spec)
        spec = normalise(spec)
        entry = await self.get(entry_id)
        if expected_revision not in (None, entry.revision):
            raise Conflict(f"entry {entry_id}", entry.revision)
        if twin := self._same_key(spec, but=entry_id):
            raise AlreadyExists(twin)
        if not diff(entry.spec, spec):
            return entry
        await self._audit.append(call, "entry.update", entry.id, Outcome.SUCCESS)
        self.rows[entry_id] = replace(entry, spec=spec, revision=entry.revision + 1, updated_at=self._now())
        return self.rows[entry_id]

    async def delete(self, call: AdminCall, entry_id: str, expected_revision: int | None) -> DeletedEntry:
        entry = await self.get(entry_id)
        if expected_revision not in (None, entry.revision):
            raise Conflict(f"entry {entry_id}", entry.revision)
        await self._audit.append(call, "entry.delete", entry.id, Outcome.SUCCESS)
        del self.rows[entry_id]
        return DeletedEntry(entry, self.expires.get(entry_id))

    async def apply(
        self, call: AdminCall, items: Sequence[ApplyItem], *, prune: PruneScope | None, dry_run: bool
    ) -> tuple[ApplyChange, ...]:
        problems = [
            FieldProblem(f"entries[{number}].{each.field}", each.problem)
            for number, item in enumerate(items)
            for each in self.problems(item.spec)
        ]
        if problems:
            raise InvalidInput(problems)
        wanted = [replace(item, spec=normalise(item.spec)) for item in items]
        steps = plan(self.rows.values(), wanted, prune, diff)
        return tuple([await self._do(call, step, dry_run=dry_run) for step in steps])

    async def _do(self, call: AdminCall, step: Step, *, dry_run: bool) -> ApplyChange:
        entry, expires = step.entry, None
        if step.action is ApplyAction.DELETE and step.entry is not None:
            expires = self.expires.get(step.entry.id)
        if not dry_run:
            if step.action is ApplyAction.CREATE:
                entry = await self._insert(call, step.spec)
            elif step.action is ApplyAction.UPDATE and step.entry is not None:
                entry = await self.update(call, step.entry.id, step.spec, None)
            elif step.action is ApplyAction.DELETE and step.entry is not None:
                await self.delete(call, step.entry.id, None)
        return ApplyChange(step.action, step.spec, entry, step.changes, expires)


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

    async def ban(self, call: AdminCall, spiffe_id: SpiffeId, reason: str) -> AgentInfo:
        agent = await self.get(spiffe_id)
        await self._audit.append(call, "agent.ban", str(spiffe_id), Outcome.SUCCESS, reason)
        self.rows[spiffe_id] = replace(agent, banned_at=self._now(), banned_reason=reason, connected=False)
        return self.rows[spiffe_id]

    async def delete(self, call: AdminCall, spiffe_id: SpiffeId) -> AgentInfo:
        await self.get(spiffe_id)
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
        self.ledger = FakeLedger(now, lambda: self.audit.rows, self.audit.append)
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
