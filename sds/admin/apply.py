"""What an `apply` would do: a pure plan from the entries that stand and the entries that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import ApplyAction, ApplyItem, PruneScope
from sds.store.errors import Conflict

Changes = Mapping[str, tuple[object, object]]
Diff = Callable[[EntrySpec, EntrySpec], Changes]
Key = tuple[SpiffeId, SpiffeId, Selectors]


@dataclass(frozen=True, slots=True)
class Step:
    """One entry's part of the plan. `entry` is what stands now (None for CREATE); `spec` what is to stand.

    For DELETE, `spec` is what goes.
    """

    action: ApplyAction
    spec: EntrySpec
    entry: RegistrationEntry | None
    changes: Changes


def plan(
    current: Iterable[RegistrationEntry], items: Sequence[ApplyItem], prune: PruneScope | None, diff: Diff
) -> tuple[Step, ...]:
    """A step for each item, in their order, then the deletions. Specs are expected normalised.

    Raises InvalidInput (two items stand for one entry, or would be the same), Conflict (an item that changes something
    names another revision than the current one).
    """
    standing = {entry.id: entry for entry in current}
    by_key = {key_of(entry.spec): entry for entry in standing.values()}
    matched = [standing.get(item.id or "") or by_key.get(key_of(item.spec)) for item in items]
    _no_twins(items, matched)
    steps = [_step(item, entry, diff) for item, entry in zip(items, matched, strict=True)]
    if prune is not None:
        kept = {entry.id for entry in matched if entry is not None}
        doomed = sorted(
            (entry for entry in standing.values() if entry.id not in kept and in_scope(entry.spec, prune)),
            key=lambda entry: (entry.spiffe_id, entry.id),
        )
        steps += [Step(ApplyAction.DELETE, entry.spec, entry, {}) for entry in doomed]
    _no_collisions(steps, standing.values())
    return tuple(steps)


def key_of(spec: EntrySpec) -> Key:
    """What makes two entries the same one."""
    return spec.spiffe_id, spec.parent_id, spec.selectors


def in_scope(spec: EntrySpec, scope: PruneScope) -> bool:
    """Whether an entry is one that `apply` may delete."""
    return (
        (scope.parent_id is None or spec.parent_id == scope.parent_id)
        and (scope.owner is None or spec.owner == scope.owner)
        and scope.labels.items() <= spec.labels.items()
    )


def _step(item: ApplyItem, entry: RegistrationEntry | None, diff: Diff) -> Step:
    if entry is None:
        return Step(ApplyAction.CREATE, item.spec, None, {})
    changes = diff(entry.spec, item.spec)
    if not changes:
        return Step(ApplyAction.UNCHANGED, entry.spec, entry, {})
    if item.revision not in (None, entry.revision):
        raise Conflict(f"entry {entry.id}", entry.revision)
    return Step(ApplyAction.UPDATE, item.spec, entry, changes)


def _no_twins(items: Sequence[ApplyItem], matched: Sequence[RegistrationEntry | None]) -> None:
    """Refuse two items for one entry: which of them should win?"""
    first: dict[Key | str, int] = {}
    problems: list[FieldProblem] = []
    for index, (item, entry) in enumerate(zip(items, matched, strict=True)):
        names: set[Key | str] = {key_of(item.spec)} | ({entry.id} if entry else set())
        twin = min((first[name] for name in names if name in first), default=None)
        if twin is not None:
            problems.append(FieldProblem(f"entries[{index}]", f"stands for the same entry as entries[{twin}]"))
        for name in names:
            first.setdefault(name, index)
    if problems:
        raise InvalidInput(problems)


def _no_collisions(steps: Sequence[Step], standing: Iterable[RegistrationEntry]) -> None:
    """Refuse an item, moved by its ID, that would become what an entry outside the request already is."""
    touched = {step.entry.id for step in steps if step.entry is not None}
    others = {key_of(entry.spec): entry.id for entry in standing if entry.id not in touched}
    problems = [
        FieldProblem(f"entries[{index}]", f"would be the same as entry {others[key_of(step.spec)]}")
        for index, step in enumerate(steps)
        if step.action is ApplyAction.UPDATE and key_of(step.spec) in others
    ]
    if problems:
        raise InvalidInput(problems)
