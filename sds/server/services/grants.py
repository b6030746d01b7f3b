"""Grants, for administrators: who may have which secret, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from attestation.entry import EntrySpec
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.grants import (
    MAX_ALLOWED,
    MAX_LOSING,
    Allowed,
    Checked,
    CheckOrder,
    CreatedGrant,
    GrantInfo,
    GrantQuery,
    Losing,
)
from sds.admin.services.versions import grant_version
from sds.audit.event import AuditEvent, Json, Target
from sds.secrets.describe import subject_json
from sds.secrets.grant import Grant, Subject, covers
from sds.secrets.rules import validate_subject
from sds.server.secrets.catalog import GrantIndex
from sds.server.services.common import Desk, actor_of
from sds.server.services.granted import entries_like, reached
from sds.server.services.secrets import named
from sds.store.codec import make_cursor, read_cursor
from sds.store.records import EntryFilter
from sds.store.times import to_micros
from sds.store.unit_of_work import UnitOfWork


class GrantService:
    """Implements sds.admin.services.grants.GrantAdmin."""

    def __init__(self, desk: Desk, trust_domain: TrustDomain, most: int, new_id: Callable[[], str]) -> None:
        """`most`: grants that there may be."""
        self._desk = desk
        self._trust_domain = trust_domain
        self._most = most
        self._new_id = new_id

    async def create(self, call: AdminCall, secret: str, subject: Subject) -> CreatedGrant:
        problems = [FieldProblem(each.field, each.problem) for each in validate_subject(subject, self._trust_domain)]
        if problems:
            raise InvalidInput(problems)
        grant_id = self._new_id()

        def work(uow: UnitOfWork) -> CreatedGrant:
            uow.changes.lock()
            found = named(uow, secret)
            standing = uow.grants.find(found.id, subject)
            if standing is not None:
                return CreatedGrant(GrantInfo(standing, secret), created=False, entries=len(reached(uow, [standing])))
            if uow.grants.count() >= self._most:
                problem = f"is granted once more than the {self._most} times that there may be (secrets.max_grants)"
                raise InvalidInput([FieldProblem("secret", problem)])
            grant = uow.grants.create(found.id, subject, grant_id, actor_of(call).id)
            entries = len(reached(uow, [grant]))
            uow.audit.append(self._event(uow, call, "grant.create", grant, secret, {"entries": entries}))
            return CreatedGrant(GrantInfo(grant, secret), created=True, entries=entries)

        return await self._desk.change(work)

    async def find(self, query: GrantQuery) -> Page[GrantInfo]:
        return await self._desk.store.read(lambda uow: _find(uow, query))

    async def get(self, grant_id: str) -> GrantInfo:
        return await self._desk.store.read(lambda uow: _info(uow, grant_id))

    async def losing(self, grant_id: str) -> Losing:
        def work(uow: UnitOfWork) -> Losing:
            info = _info(uow, grant_id)
            others = GrantIndex(one for one in uow.grants.of(info.grant.secret_id) if one.id != grant_id)
            entries = [one for one in reached(uow, [info.grant]) if others.granting(one.spec) is None]
            return Losing(info, tuple(entries[:MAX_LOSING]), len(entries))

        return await self._desk.store.read(work)

    async def delete(self, call: AdminCall, grant_id: str, condition: Condition = ANY) -> GrantInfo:
        def work(uow: UnitOfWork) -> GrantInfo:
            uow.changes.lock()
            condition.check(f"grant {grant_id}", grant_version(uow.grants.get(grant_id)))
            grant = uow.grants.delete(grant_id)
            secret = uow.secrets.get(grant.secret_id).name
            uow.audit.append(self._event(uow, call, "grant.delete", grant, secret, {}))
            return GrantInfo(grant, secret)

        return await self._desk.change(work)

    async def check(self, order: CheckOrder) -> Checked:
        return await self._desk.store.read(lambda uow: _check(uow, order))

    def _event(
        self, uow: UnitOfWork, call: AdminCall, action: str, grant: Grant, secret: str, details: Mapping[str, Json]
    ) -> AuditEvent:
        facts: dict[str, Json] = {"secret_id": grant.secret_id, "secret": secret, "to": _subject(grant.subject)}
        return self._desk.event(uow.now, call, action, Target("grant", grant.id), {**facts, **details})


def _info(uow: UnitOfWork, grant_id: str) -> GrantInfo:
    grant = uow.grants.get(grant_id)
    return GrantInfo(grant, uow.secrets.get(grant.secret_id).name)


def _subject(subject: Subject) -> Json:
    parts: dict[str, Json] = {}
    for name, value in subject_json(subject).items():
        parts[name] = {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else str(value)
    return parts


class _Names(dict[str, str]):
    """Secrets' names by ID, read when they are needed."""

    def __init__(self, uow: UnitOfWork) -> None:
        super().__init__()
        self._uow = uow

    def __missing__(self, secret_id: str) -> str:
        self[secret_id] = name = self._uow.secrets.get(secret_id).name
        return name


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose right is asked for: an entry's, or that of an identity which no entry gives."""

    spec: EntrySpec
    entry_id: str | None = None


def _find(uow: UnitOfWork, query: GrantQuery) -> Page[GrantInfo]:
    secret_id = None if query.secret is None else named(uow, query.secret).id
    names = _Names(uow)
    if query.spiffe_id is None:
        page = uow.grants.page(
            secret_id=secret_id, cursor=query.cursor, limit=query.limit, newest_first=query.order == "-created"
        )
        return Page(tuple(GrantInfo(each, names[each.secret_id]) for each in page.items), page.next_cursor)
    after = None if query.cursor is None else read_cursor(query.cursor, int, str)
    asked, down = _of_identity(uow, query.spiffe_id), query.order == "-created"
    grants = uow.grants.all() if secret_id is None else uow.grants.of(secret_id)
    found = [
        grant
        for grant in (reversed(grants) if down else grants)
        if _beyond((to_micros(grant.created_at), grant.id), after, down=down)
        and any(covers(grant.subject, each.spec) for each in asked)
    ]
    items = found[: query.limit]
    cursor = make_cursor(to_micros(items[-1].created_at), items[-1].id) if len(found) > query.limit else None
    return Page(tuple(GrantInfo(each, names[each.secret_id]) for each in items), cursor)


def _beyond(place: tuple[int, str], after: tuple[int, str] | None, *, down: bool) -> bool:
    return after is None or (place < after if down else place > after)


def _check(uow: UnitOfWork, order: CheckOrder) -> Checked:
    secret_id = None if order.secret is None else named(uow, order.secret).id
    grants = uow.grants.all() if secret_id is None else uow.grants.of(secret_id)
    found = list(_allowed(_Names(uow), grants, _asked(uow, order, grants)))
    return Checked(tuple(found[:MAX_ALLOWED]), len(found))


def _allowed(names: _Names, grants: Sequence[Grant], asked: Sequence[_Asked]) -> Iterator[Allowed]:
    """By entries' age, then by secrets' names."""
    by_secret: dict[str, list[Grant]] = {}
    for grant in grants:
        by_secret.setdefault(names[grant.secret_id], []).append(grant)
    indexes = [(name, GrantIndex(by_secret[name])) for name in sorted(by_secret)]
    for each in asked:
        for name, index in indexes:
            granted = index.granting(each.spec)
            if granted is not None:
                yield Allowed(name, each.spec.spiffe_id, each.entry_id, granted)


def _asked(uow: UnitOfWork, order: CheckOrder, grants: Sequence[Grant]) -> list[_Asked]:
    if order.entry_id is not None:
        entry = uow.entries.get(order.entry_id)
        return [_Asked(entry.spec, entry.id)] if entry.live(uow.now) else []
    if order.spiffe_id is not None:
        return _of_identity(uow, order.spiffe_id)
    return [_Asked(entry.spec, entry.id) for entry in reached(uow, grants)]


def _of_identity(uow: UnitOfWork, spiffe_id: SpiffeId) -> list[_Asked]:
    """Its entries that have not expired; if there are none, itself: a grant may be made before the entry."""
    entries = [one for one in entries_like(uow, EntryFilter(spiffe_id=spiffe_id)) if one.live(uow.now)]
    if entries:
        return [_Asked(entry.spec, entry.id) for entry in entries]
    return [_Asked(EntrySpec(spiffe_id, spiffe_id, frozenset()))]
