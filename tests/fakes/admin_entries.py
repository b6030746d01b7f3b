"""Registration entries in memory, with the rules and profiles that hold for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.rules import diff, normalise
from attestation.spiffe_id import TrustDomain
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.profile import Profile, default_profiles
from sds.admin.access.decide import in_scopes
from sds.admin.apply import Step, key_of, plan
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import (
    AdminCall,
    ApplyAction,
    ApplyChange,
    ApplyItem,
    CreatedEntry,
    DeletedEntry,
    EntryQuery,
    Page,
    PruneScope,
)
from sds.admin.services.entries import PlannedUpdate
from sds.audit.event import Outcome
from sds.server.services.entry_policy import EntryPolicy
from sds.store.errors import AlreadyExists, Conflict, NotFound
from tests.fakes.admin_audit import FakeAudit
from tests.fakes.admin_pages import page

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
        planned = await self.plan_update(call, entry_id, spec, expected_revision)
        entry, spec = self.rows[entry_id], planned.entry.spec
        if not planned.changes:
            return entry
        await self._audit.append(call, "entry.update", entry.id, Outcome.SUCCESS)
        self.rows[entry_id] = replace(entry, spec=spec, revision=entry.revision + 1, updated_at=self._now())
        return self.rows[entry_id]

    async def plan_update(
        self, _call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> PlannedUpdate:
        self._check(spec)
        spec = normalise(spec)
        entry = await self.get(entry_id)
        if expected_revision not in (None, entry.revision):
            raise Conflict(f"entry {entry_id}", entry.revision)
        if twin := self._same_key(spec, but=entry_id):
            raise AlreadyExists(twin)
        return PlannedUpdate(replace(entry, spec=spec), diff(entry.spec, spec))

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
