"""Registration entries: validated, stored with their audit event, told to agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.rules import as_json, diff, normalise
from sds.admin.apply import Step, plan
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
from sds.audit.event import AuditEvent, Json, Target
from sds.server.access.naming import check_name
from sds.server.services.common import Desk
from sds.server.services.entry_policy import EntryPolicy
from sds.store.errors import AlreadyExists, Conflict
from sds.store.records import EntryFilter
from sds.store.unit_of_work import UnitOfWork


class EntryService:
    """Implements sds.admin.services.EntryAdmin."""

    def __init__(self, desk: Desk, policy: EntryPolicy, new_id: Callable[[], str]) -> None:
        self._desk = desk
        self._policy = policy
        self._new_id = new_id

    def use(self, policy: EntryPolicy) -> None:
        """Judge by another policy from now on. Entries that stand are judged again when they are changed."""
        self._policy = policy

    def problems(self, spec: EntrySpec) -> Sequence[FieldProblem]:
        return self._policy.problems(spec)

    async def unfit(self) -> tuple[RegistrationEntry, ...]:
        """The entries under which nothing would be issued: their profile is gone or has become too narrow.

        Lifetimes that are too long don't count: the CA cuts them.
        """
        policy = self._policy
        return await self._desk.store.read(
            lambda uow: tuple(entry for entry in uow.entries.all() if policy.refuses(entry.spec))
        )

    async def create(self, call: AdminCall, spec: EntrySpec) -> CreatedEntry:
        wanted = self._checked(spec)
        entry_id = self._new_id()

        def work(uow: UnitOfWork) -> CreatedEntry:
            try:
                return CreatedEntry(self._create(uow, call, wanted, entry_id), created=True)
            except AlreadyExists as standing:
                if diff(standing.entry.spec, wanted):
                    raise
                return CreatedEntry(standing.entry, created=False)

        return await self._desk.change(work)

    async def get(self, entry_id: str) -> RegistrationEntry:
        return await self._desk.store.read(lambda uow: uow.entries.get(entry_id))

    async def find(self, query: EntryQuery) -> Page[RegistrationEntry]:
        filters = EntryFilter(
            spiffe_id=query.spiffe_id,
            below=query.below,
            parent_id=query.parent_id,
            selector=query.selector,
            owner=query.owner,
            hint=query.hint,
            profile=query.profile,
            labels=query.labels,
            expired=query.expired,
            scopes=query.scopes,
            order=query.order,
        )
        found = await self._desk.store.read(
            lambda uow: uow.entries.list(filters, cursor=query.cursor, limit=query.limit)
        )
        return Page(found.items, found.next_cursor)

    async def update(
        self, call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> RegistrationEntry:
        wanted = self._checked(spec)
        return await self._desk.change(lambda uow: self._update(uow, call, entry_id, wanted, expected_revision))

    async def plan_update(
        self, call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> PlannedUpdate:
        wanted = self._checked(spec)

        def work(uow: UnitOfWork) -> PlannedUpdate:
            before = uow.entries.get(entry_id)
            if expected_revision not in {None, before.revision}:
                raise Conflict(f"entry {entry_id}", before.revision)
            check_name(uow, call, wanted, before.spec)
            other = uow.entries.find(wanted)
            if other is not None and other.id != entry_id:
                raise AlreadyExists(other)
            return PlannedUpdate(replace(before, spec=wanted), diff(before.spec, wanted))

        return await self._desk.store.read(work)

    async def delete(self, call: AdminCall, entry_id: str, expected_revision: int | None) -> DeletedEntry:
        return await self._desk.change(lambda uow: self._delete(uow, call, entry_id, expected_revision))

    async def apply(
        self, call: AdminCall, items: Sequence[ApplyItem], *, prune: PruneScope | None, dry_run: bool
    ) -> tuple[ApplyChange, ...]:
        wanted = self._checked_items(items)
        ids = [self._new_id() for _ in wanted]

        def work(uow: UnitOfWork) -> tuple[ApplyChange, ...]:
            steps = plan(uow.entries.all(), wanted, prune, diff)
            if dry_run:
                return tuple(self._planned(uow, step) for step in steps)
            done: dict[int, ApplyChange] = {}
            # What goes makes room for what comes, so deletions are done first; the answer keeps the plan's order.
            for number, step in sorted(enumerate(steps), key=lambda pair: _ORDER[pair[1].action]):
                done[number] = self._do(uow, call, step, ids[number] if number < len(ids) else "")
            return tuple(done[number] for number in range(len(steps)))

        return await (self._desk.store.read(work) if dry_run else self._desk.change(work))

    def _checked(self, spec: EntrySpec) -> EntrySpec:
        """The spec as it is stored. Raises InvalidInput."""
        if problems := self.problems(spec):
            raise InvalidInput(problems)
        return normalise(spec)

    def _checked_items(self, items: Sequence[ApplyItem]) -> list[ApplyItem]:
        problems = [
            FieldProblem(f"entries[{number}].{problem.field}", problem.problem)
            for number, item in enumerate(items)
            for problem in self.problems(item.spec)
        ]
        if problems:
            raise InvalidInput(problems)
        return [ApplyItem(normalise(item.spec), item.id, item.revision) for item in items]

    def _create(self, uow: UnitOfWork, call: AdminCall, spec: EntrySpec, entry_id: str) -> RegistrationEntry:
        check_name(uow, call, spec)
        entry = uow.entries.create(spec, entry_id)
        uow.audit.append(self._event(uow, call, "entry.create", entry, {"after": _json(as_json(entry.spec))}))
        return entry

    def _update(
        self, uow: UnitOfWork, call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> RegistrationEntry:
        before = uow.entries.get(entry_id)
        check_name(uow, call, spec, before.spec)
        entry = uow.entries.update(entry_id, spec, expected_revision)
        if entry.revision != before.revision:
            changed = {name: {"before": old, "after": new} for name, (old, new) in diff(before.spec, spec).items()}
            uow.audit.append(self._event(uow, call, "entry.update", entry, {"changed": _json(changed)}))
        return entry

    def _delete(self, uow: UnitOfWork, call: AdminCall, entry_id: str, expected_revision: int | None) -> DeletedEntry:
        entry = uow.entries.delete(entry_id, expected_revision)
        last = uow.certificates.latest_not_after(entry_id=entry_id)
        uow.audit.append(self._event(uow, call, "entry.delete", entry, {"before": _json(as_json(entry.spec))}))
        return DeletedEntry(entry, last if last is not None and last > uow.now else None)

    def _do(self, uow: UnitOfWork, call: AdminCall, step: Step, new_id: str) -> ApplyChange:
        if step.action is ApplyAction.CREATE or step.entry is None:
            return ApplyChange(step.action, step.spec, self._create(uow, call, step.spec, new_id))
        if step.action is ApplyAction.UPDATE:
            entry = self._update(uow, call, step.entry.id, step.spec, step.entry.revision)
            return ApplyChange(step.action, step.spec, entry, step.changes)
        if step.action is ApplyAction.DELETE:
            gone = self._delete(uow, call, step.entry.id, step.entry.revision)
            return ApplyChange(
                step.action, step.spec, gone.entry, last_certificate_expires_at=gone.last_certificate_expires_at
            )
        return ApplyChange(step.action, step.spec, step.entry)

    def _planned(self, uow: UnitOfWork, step: Step) -> ApplyChange:
        last = None
        if step.action is ApplyAction.DELETE and step.entry is not None:
            last = uow.certificates.latest_not_after(entry_id=step.entry.id)
        return ApplyChange(
            step.action,
            step.spec,
            step.entry,
            step.changes,
            last if last is not None and last > uow.now else None,
        )

    def _event(
        self, uow: UnitOfWork, call: AdminCall, action: str, entry: RegistrationEntry, details: Mapping[str, Json]
    ) -> AuditEvent:
        facts: dict[str, Json] = {"spiffe_id": str(entry.spiffe_id), "revision": entry.revision}
        return self._desk.event(uow.now, call, action, Target("entry", entry.id), {**facts, **details})


_ORDER = {ApplyAction.DELETE: 0, ApplyAction.UPDATE: 1, ApplyAction.CREATE: 2, ApplyAction.UNCHANGED: 3}


def _json(value: object) -> Json:
    """Entry fields as the audit log may hold them: no floats, their texts differ between JSON writers."""
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
