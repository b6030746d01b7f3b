"""Named secrets, for administrators: definitions with their audit events, and values that go in and never come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.secrets import (
    SHOWN,
    CreatedSecret,
    DeletedSecret,
    PutOrder,
    SecretDetail,
    SecretInfo,
    SecretQuery,
)
from sds.audit.event import Actor, AuditEvent, Json, Target
from sds.secrets import rules
from sds.secrets.backend import SecretBackend
from sds.secrets.describe import as_json, diff
from sds.secrets.errors import SecretError
from sds.secrets.judge import Limits
from sds.secrets.secret import DatabaseSource, EmbeddedSource, PkiSource, Secret, SecretSpec, SecretState, VersionInfo
from sds.server.services.common import Desk, actor_of
from sds.server.services.granted import reached
from sds.server.services.secret_values import Values, write
from sds.store.errors import Conflict, NameTaken, NotFound, StoreError
from sds.store.secrets.records import SecretFilter, WrappedDataKey
from sds.store.unit_of_work import UnitOfWork


class Engine(Protocol):
    """sds.server.secrets.desk.SecretDesk."""

    def watchers(self, secret_id: str) -> int: ...

    async def refresh(self, secret_id: str, actor: Actor | None = None, request_id: str = "") -> SecretState:
        """Asks the source now, and audits who wished it, if anybody. Raises NotFound, StoreError."""
        ...


class Backends(Protocol):
    """sds.server.secrets.backends.SecretBackends."""

    def of(self, secret: Secret) -> SecretBackend:
        """Raises SecretUnavailable."""
        ...


class DataKeys(Protocol):
    """sds.server.secrets.sealing.Sealer."""

    def fresh(self, uow: UnitOfWork, secret_id: str) -> WrappedDataKey:
        """Raises SecretUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class SecretPolicy:
    """How many secrets there may be, and how large the value of one."""

    limits: Limits
    max_secrets: int = 20_000


class SecretService:
    """Implements sds.admin.services.secrets.SecretAdmin."""

    def __init__(
        self,
        desk: Desk,
        engine: Engine,
        backends: Backends,
        sealer: DataKeys,
        values: Values,
        policy: SecretPolicy,
        new_id: Callable[[], str],
    ) -> None:
        self._desk = desk
        self._engine = engine
        self._backends = backends
        self._sealer = sealer
        self._values = values
        self._policy = policy
        self._new_id = new_id

    @property
    def most_bytes(self) -> int:
        return self._policy.limits.max_total_bytes

    def problems(self, spec: SecretSpec) -> Sequence[FieldProblem]:
        return [FieldProblem(each.field, each.problem) for each in rules.validate(spec)]

    async def create(self, call: AdminCall, spec: SecretSpec) -> CreatedSecret:
        wanted, secret_id = self._checked(spec), self._new_id()

        def work(uow: UnitOfWork) -> tuple[SecretInfo, bool]:
            uow.changes.lock()
            standing = uow.secrets.find(wanted.name)
            if standing is not None:
                if standing.spec != wanted:
                    raise NameTaken("secret", wanted.name)
                return _info(uow, standing), False
            if uow.secrets.count() >= self._policy.max_secrets:
                most = f"is one more than the {self._policy.max_secrets} that there may be (secrets.max_secrets)"
                raise InvalidInput([FieldProblem("name", most)])
            embedded = isinstance(wanted.source, EmbeddedSource)
            key = self._sealer.fresh(uow, secret_id) if embedded else None
            secret = uow.secrets.create(wanted, secret_id, key)
            uow.audit.append(self._event(uow, call, "secret.create", secret, {"after": _json(as_json(wanted))}))
            return _info(uow, secret), True

        info, created = await self._desk.change(work)
        return CreatedSecret(self._watched(info), created)

    async def find(self, query: SecretQuery) -> Page[SecretInfo]:
        filters = SecretFilter(
            prefix=query.prefix,
            kind=query.kind,
            backend=query.backend,
            owner=query.owner,
            labels=query.labels,
            problem=query.problem,
            last_first=query.order == "-name",
        )

        def work(uow: UnitOfWork) -> Page[SecretInfo]:
            found = uow.secrets.page(cursor=query.cursor, limit=query.limit, filters=filters)
            grants = uow.grants.counts(secret.id for secret, _ in found.items)
            items = tuple(SecretInfo(one, state, grants.get(one.id, 0), watchers=0) for one, state in found.items)
            return Page(items, found.next_cursor)

        page = await self._desk.store.read(work)
        return Page(tuple(map(self._watched, page.items)), page.next_cursor)

    async def get(self, name: str) -> SecretDetail:
        detail = await self._desk.store.read(lambda uow: _detail(uow, named(uow, name)))
        return replace(detail, info=self._watched(detail.info))

    async def update(self, call: AdminCall, name: str, spec: SecretSpec, expected_revision: int | None) -> SecretDetail:
        wanted = self._checked(spec)

        def work(uow: UnitOfWork) -> SecretDetail:
            uow.changes.lock()
            before = named(uow, name)
            after = uow.secrets.update(before.id, wanted, expected_revision)
            if after.revision != before.revision:
                changes = diff(before.spec, wanted)
                changed = {field: {"before": old, "after": new} for field, (old, new) in changes.items()}
                uow.audit.append(self._event(uow, call, "secret.update", after, {"changed": _json(changed)}))
            return _detail(uow, after)

        detail = await self._desk.change(work)
        return replace(detail, info=self._watched(detail.info))

    async def delete(
        self, call: AdminCall, name: str, expected_revision: int | None, *, dry_run: bool
    ) -> DeletedSecret:
        def work(uow: UnitOfWork) -> DeletedSecret:
            if not dry_run:
                uow.changes.lock()
            secret = named(uow, name)
            if expected_revision not in {None, secret.revision}:
                raise Conflict(f"secret {name}", secret.revision)
            info, granted = _info(uow, secret), uow.grants.of(secret.id)
            losers = reached(uow, granted)
            versions = sum(one.live for one in uow.secrets.versions(secret.id))
            if not dry_run:
                uow.secrets.delete(secret.id, expected_revision)
                lost: dict[str, Json] = {"grants": len(granted), "entries": len(losers), "versions": versions}
                details = {"before": _json(as_json(secret.spec)), **lost}
                uow.audit.append(self._event(uow, call, "secret.delete", secret, details))
            return DeletedSecret(info, dry_run, granted[:SHOWN], losers[:SHOWN], len(losers), versions)

        deleted = await (self._desk.store.read(work) if dry_run else self._desk.change(work))
        return replace(deleted, info=self._watched(deleted.info))

    async def put(self, call: AdminCall, name: str, order: PutOrder, condition: Condition = ANY) -> VersionInfo:
        def work(uow: UnitOfWork) -> tuple[str, VersionInfo]:
            uow.changes.lock()
            secret = named(uow, name)
            condition.check(f"secret {name}", str(secret.revision))
            record = write(uow, self._values, secret, order, actor_of(call).id)
            details: dict[str, Json] = {"version": str(record.version)}
            uow.audit.append(self._event(uow, call, "secret.put", secret, details))
            return secret.id, VersionInfo(str(record.version), record.created_at, record.created_by)

        secret_id, written = await self._desk.change(work)
        await self._look(secret_id)
        return written

    async def refresh(self, call: AdminCall, name: str) -> SecretInfo:
        secret = await self._desk.store.read(lambda uow: named(uow, name))
        await self._engine.refresh(secret.id, actor_of(call), call.request_id)
        return (await self.get(name)).info

    async def versions(self, name: str) -> tuple[VersionInfo, ...]:
        secret = await self._desk.store.read(lambda uow: named(uow, name))
        return await self._backends.of(secret).versions(secret)

    async def rollback(self, call: AdminCall, name: str, version: int | None, condition: Condition = ANY) -> SecretInfo:
        secret = await self._desk.store.read(lambda uow: named(uow, name))
        if version is not None:
            await self._check_version(secret, version)

        def work(uow: UnitOfWork) -> None:
            uow.changes.lock()
            before = named(uow, name)
            if before.id != secret.id or before.spec.source != secret.spec.source:
                raise NotFound("secret", name)  # another one since we looked
            condition.check(f"secret {name}", str(before.revision))
            after = uow.secrets.pin(before.id, version)
            if after.revision != before.revision:
                details: dict[str, Json] = {"before": before.pinned, "after": after.pinned}
                uow.audit.append(self._event(uow, call, "secret.rollback", after, details))

        await self._desk.change(work)
        await self._look(secret.id)
        return (await self.get(name)).info

    async def _look(self, secret_id: str) -> None:
        """So that what is shown next is how it stands after the change; the change is done whatever comes of this."""
        with suppress(StoreError):
            await self._engine.refresh(secret_id)

    async def _check_version(self, secret: Secret, version: int) -> None:
        """Raises InvalidInput unless the source has this very version."""
        if isinstance(secret.spec.source, DatabaseSource | PkiSource):
            problem = "of a secret that is made anew each time there is none to go back to"
            raise InvalidInput([FieldProblem("version", problem)])
        try:
            found = await self._backends.of(secret).versions(secret)
        except SecretError as error:
            raise InvalidInput([FieldProblem("version", f"cannot be looked up at its source: {error}")]) from error
        state = next((one.state for one in found if one.version == str(version)), None)
        if state is None:
            raise InvalidInput([FieldProblem("version", "is none that its source knows of")])
        if state != "live":
            raise InvalidInput([FieldProblem("version", f"was {state} at its source")])

    def _checked(self, spec: SecretSpec) -> SecretSpec:
        """The spec as it is stored. Raises InvalidInput."""
        if problems := self.problems(spec):
            raise InvalidInput(problems)
        return rules.normalise(spec)

    def _watched(self, info: SecretInfo) -> SecretInfo:
        """With who watches; on the event loop, which alone may ask, and so after the transaction."""
        return replace(info, watchers=self._engine.watchers(info.secret.id))

    def _event(
        self, uow: UnitOfWork, call: AdminCall, action: str, secret: Secret, details: Mapping[str, Json]
    ) -> AuditEvent:
        facts: dict[str, Json] = {"name": secret.name, "revision": secret.revision}
        return self._desk.event(uow.now, call, action, Target("secret", secret.id), {**facts, **details})


def _info(uow: UnitOfWork, secret: Secret) -> SecretInfo:
    return SecretInfo(secret, uow.secrets.state(secret.id), uow.grants.count(secret.id), watchers=0)


def _detail(uow: UnitOfWork, secret: Secret) -> SecretDetail:
    granted = uow.grants.page(secret_id=secret.id, limit=SHOWN)
    return SecretDetail(_info(uow, secret), granted.items)


def named(uow: UnitOfWork, name: str) -> Secret:
    """Raises NotFound."""
    secret = uow.secrets.find(name)
    if secret is None:
        raise NotFound("secret", name)
    return secret


def _json(value: object) -> Json:
    """Fields of a definition as the audit log may hold them."""
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
