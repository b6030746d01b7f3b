"""Secrets and grants for the admin API's tests, in memory. Values are judged as everywhere, kept, and given to nobody."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias, TypeVar

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.masked import Masked
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.grants import (
    MAX_LOSING,
    Allowed,
    Checked,
    CheckOrder,
    CreatedGrant,
    GrantInfo,
    GrantQuery,
    Losing,
)
from sds.admin.services.secrets import (
    SHOWN,
    CreatedSecret,
    DeletedSecret,
    PutOrder,
    SecretDetail,
    SecretInfo,
    SecretQuery,
)
from sds.admin.services.versions import grant_version
from sds.audit.event import Outcome
from sds.secrets import rules
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretMalformed
from sds.secrets.grant import Grant, Subject, covers, granting
from sds.secrets.judge import Limits, judge
from sds.secrets.secret import EmbeddedSource, KvSource, Secret, SecretSpec, SecretState, VersionInfo
from sds.store.errors import Conflict, InvalidCursor, NameTaken, NotFound

Append: TypeAlias = Callable[[AdminCall, str, str, Outcome], Awaitable[None]]
Entries: TypeAlias = Callable[[], Iterable[RegistrationEntry]]
T = TypeVar("T")


def _page(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    if cursor is not None and not cursor.isdigit():
        raise InvalidCursor
    start = int(cursor or 0)
    end = start + limit
    return Page(tuple(items[start:end]), str(end) if end < len(items) else None)


class FakeSecrets:
    """Implements sds.admin.services.secrets.SecretAdmin. `states` and `watchers` are what tests say, by name.

    `sources`: what Vault would know of versions, by name; `answers`: what comes of the next refresh.
    """

    most_bytes = 10_000

    def __init__(self, now: Callable[[], datetime], append: Append, entries: Entries) -> None:
        self._now = now
        self._append = append
        self._entries = entries
        self._numbers = itertools.count(1)
        self.rows: dict[str, Secret] = {}
        self.grants: dict[str, Grant] = {}
        self.values: dict[str, list[Mapping[str, Masked[bytes]]]] = {}
        self.written: dict[str, list[VersionInfo]] = {}
        self.states: dict[str, SecretState] = {}
        self.watchers: dict[str, int] = {}
        self.sources: dict[str, tuple[VersionInfo, ...]] = {}
        self.answers: dict[str, SecretState] = {}

    def problems(self, spec: SecretSpec) -> list[FieldProblem]:
        return [FieldProblem(each.field, each.problem) for each in rules.validate(spec)]

    async def create(self, call: AdminCall, spec: SecretSpec) -> CreatedSecret:
        spec = self._checked(spec)
        standing = self.rows.get(spec.name)
        if standing is not None:
            if standing.spec != spec:
                raise NameTaken("secret", spec.name)
            return CreatedSecret(self._info(standing), created=False)
        secret = Secret(f"s{next(self._numbers):08}", 1, self._now(), self._now(), spec)
        await self._append(call, "secret.create", secret.id, Outcome.SUCCESS)
        self.rows[spec.name] = secret
        return CreatedSecret(self._info(secret), created=True)

    async def find(self, query: SecretQuery) -> Page[SecretInfo]:
        found = [
            self._info(secret)
            for name, secret in sorted(self.rows.items())
            if name.startswith(query.prefix)
            and query.kind in (None, secret.spec.kind)
            and query.backend in (None, "kv" if isinstance(secret.spec.source, KvSource) else "embedded")
            and query.owner in (None, secret.spec.owner)
            and query.labels.items() <= secret.spec.labels.items()
            and query.problem in (None, bool(self._state(name).problem))
        ]
        return _page(found[:: -1 if query.order == "-name" else 1], query.limit, query.cursor)

    async def get(self, name: str) -> SecretDetail:
        secret = self.named(name)
        return SecretDetail(self._info(secret), self.granted(secret)[:SHOWN])

    async def update(self, call: AdminCall, name: str, spec: SecretSpec, expected_revision: int | None) -> SecretDetail:
        spec = self._checked(spec)
        secret = self._expected(name, expected_revision)
        if spec.name != name and spec.name in self.rows:
            raise NameTaken("secret", spec.name)
        if spec != secret.spec:
            await self._append(call, "secret.update", secret.id, Outcome.SUCCESS)
            self._put(replace(secret, spec=spec, revision=secret.revision + 1, updated_at=self._now()), name)
        return await self.get(spec.name)

    async def delete(
        self, call: AdminCall, name: str, expected_revision: int | None, *, dry_run: bool
    ) -> DeletedSecret:
        secret = self.named(name) if dry_run else self._expected(name, expected_revision)
        granted = self.granted(secret)
        entries = tuple(each for each in self._entries() if granting(granted, each.spec) is not None)
        versions = len(self.written.get(name, ()))
        deleted = DeletedSecret(self._info(secret), dry_run, granted[:SHOWN], entries[:SHOWN], len(entries), versions)
        if not dry_run:
            await self._append(call, "secret.delete", secret.id, Outcome.SUCCESS)
            del self.rows[name]
            self.grants = {key: each for key, each in self.grants.items() if each.secret_id != secret.id}
            self.written.pop(name, None)
        return deleted

    async def put(self, call: AdminCall, name: str, order: PutOrder, condition: Condition = ANY) -> VersionInfo:
        secret = self.named(name)
        condition.check(f"secret {name}", str(secret.revision))
        if not isinstance(secret.spec.source, EmbeddedSource):
            raise InvalidInput([FieldProblem("source", "is Vault: write it there")])
        written = self.written.setdefault(name, [])
        try:
            judge(secret.spec.kind, Fetched("new", order.fields), self._now(), Limits())
        except SecretMalformed as error:
            raise InvalidInput([FieldProblem("fields", str(error))]) from None
        if order.if_version not in (None, len(written)):
            raise Conflict(f"the value of secret {name}", len(written))
        await self._append(call, "secret.put", secret.id, Outcome.SUCCESS)
        self.values.setdefault(name, []).append(order.fields)
        written.append(VersionInfo(str(len(written) + 1), self._now(), call.caller.id))
        return written[-1]

    async def refresh(self, call: AdminCall, name: str) -> SecretInfo:
        secret = self.named(name)
        await self._append(call, "secret.refresh", secret.id, Outcome.SUCCESS)
        self.states[name] = self.answers.get(name, replace(self._state(name), checked_at=self._now()))
        return self._info(secret)

    async def versions(self, name: str) -> tuple[VersionInfo, ...]:
        secret = self.named(name)
        if not isinstance(secret.spec.source, EmbeddedSource):
            return self.sources.get(name, ())
        return tuple(reversed(self.written.get(name, [])))

    async def rollback(self, call: AdminCall, name: str, version: int | None, condition: Condition = ANY) -> SecretInfo:
        secret = self.named(name)
        condition.check(f"secret {name}", str(secret.revision))
        if version is not None:
            known = {each.version: each.state for each in await self.versions(name)}
            if known.get(str(version)) is None:
                raise InvalidInput([FieldProblem("version", "is none that its source knows of")])
            if known[str(version)] != "live":
                raise InvalidInput([FieldProblem("version", f"was {known[str(version)]} at its source")])
        if version != secret.pinned:
            await self._append(call, "secret.rollback", secret.id, Outcome.SUCCESS)
            self._put(replace(secret, pinned=version, revision=secret.revision + 1, updated_at=self._now()), name)
        return self._info(self.named(name))

    def named(self, name: str) -> Secret:
        if name not in self.rows:
            raise NotFound("secret", name)
        return self.rows[name]

    def granted(self, secret: Secret) -> tuple[Grant, ...]:
        return tuple(each for each in self.grants.values() if each.secret_id == secret.id)

    def entries(self) -> tuple[RegistrationEntry, ...]:
        return tuple(self._entries())

    def _put(self, secret: Secret, old_name: str) -> None:
        del self.rows[old_name]
        self.rows[secret.name] = secret

    def _expected(self, name: str, revision: int | None) -> Secret:
        secret = self.named(name)
        if revision not in (None, secret.revision):
            raise Conflict(f"secret {name}", secret.revision)
        return secret

    def _checked(self, spec: SecretSpec) -> SecretSpec:
        if problems := self.problems(spec):
            raise InvalidInput(problems)
        return rules.normalise(spec)

    def _state(self, name: str) -> SecretState:
        return self.states.get(name, SecretState())

    def _info(self, secret: Secret) -> SecretInfo:
        name = secret.name
        return SecretInfo(secret, self._state(name), len(self.granted(secret)), self.watchers.get(name, 0))


class FakeGrants:
    """Implements sds.admin.services.grants.GrantAdmin, over the grants of a FakeSecrets."""

    def __init__(self, now: Callable[[], datetime], append: Append, secrets: FakeSecrets, own: TrustDomain) -> None:
        self._now = now
        self._append = append
        self._secrets = secrets
        self._own = own
        self._numbers = itertools.count(1)

    async def create(self, call: AdminCall, secret: str, subject: Subject) -> CreatedGrant:
        problems = [FieldProblem(each.field, each.problem) for each in rules.validate_subject(subject, self._own)]
        if problems:
            raise InvalidInput(problems)
        found = self._secrets.named(secret)
        reached = sum(covers(subject, each.spec) for each in self._secrets.entries())
        for standing in self._secrets.granted(found):
            if standing.subject == subject:
                return CreatedGrant(GrantInfo(standing, secret), created=False, entries=reached)
        grant = Grant(f"g{next(self._numbers):08}", found.id, subject, self._now(), call.caller.id)
        await self._append(call, "grant.create", grant.id, Outcome.SUCCESS)
        self._secrets.grants[grant.id] = grant
        return CreatedGrant(GrantInfo(grant, secret), created=True, entries=reached)

    async def find(self, query: GrantQuery) -> Page[GrantInfo]:
        wanted = None if query.secret is None else self._secrets.named(query.secret).id
        specs = None if query.spiffe_id is None else [spec for spec, _ in self._identity(query.spiffe_id)]
        found = [
            GrantInfo(each, self._name(each))
            for each in self._secrets.grants.values()
            if wanted in (None, each.secret_id) and (specs is None or any(covers(each.subject, spec) for spec in specs))
        ]
        return _page(found[:: -1 if query.order == "-created" else 1], query.limit, query.cursor)

    async def get(self, grant_id: str) -> GrantInfo:
        if grant_id not in self._secrets.grants:
            raise NotFound("grant", grant_id)
        grant = self._secrets.grants[grant_id]
        return GrantInfo(grant, self._name(grant))

    async def losing(self, grant_id: str) -> Losing:
        info = await self.get(grant_id)
        secret = self._secrets.rows[info.secret]
        others = [each for each in self._secrets.granted(secret) if each.id != grant_id]
        found = [
            each
            for each in self._secrets.entries()
            if covers(info.grant.subject, each.spec) and granting(others, each.spec) is None
        ]
        return Losing(info, tuple(found[:MAX_LOSING]), len(found))

    async def delete(self, call: AdminCall, grant_id: str, condition: Condition = ANY) -> GrantInfo:
        condition.check(f"grant {grant_id}", grant_version((await self.get(grant_id)).grant))
        await self._append(call, "grant.delete", grant_id, Outcome.SUCCESS)
        gone = self._secrets.grants.pop(grant_id)
        return GrantInfo(gone, self._name(gone))

    async def check(self, order: CheckOrder) -> Checked:
        asked: list[tuple[EntrySpec, str | None]] = [(each.spec, each.id) for each in self._secrets.entries()]
        if order.entry_id is not None:
            asked = [(spec, entry_id) for spec, entry_id in asked if entry_id == order.entry_id]
            if not asked:
                raise NotFound("entry", order.entry_id)
        elif order.spiffe_id is not None:
            asked = self._identity(order.spiffe_id)
        names = sorted(self._secrets.rows) if order.secret is None else [self._secrets.named(order.secret).name]
        found = [
            Allowed(name, spec.spiffe_id, entry_id, grant)
            for spec, entry_id in asked
            for name in names
            if (grant := granting(self._secrets.granted(self._secrets.rows[name]), spec)) is not None
        ]
        return Checked(tuple(found), len(found))

    def _identity(self, spiffe_id: SpiffeId) -> list[tuple[EntrySpec, str | None]]:
        found = [(each.spec, each.id) for each in self._secrets.entries() if each.spiffe_id == spiffe_id]
        return found or [(EntrySpec(spiffe_id, spiffe_id, frozenset()), None)]

    def _name(self, grant: Grant) -> str:
        return next(each.name for each in self._secrets.rows.values() if each.id == grant.secret_id)
