"""Registration entries as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import Field

from attestation.entry import EntrySpec, RegistrationEntry
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import ApplyChange, ApplyItem, DeletedEntry, PruneScope
from sds.admin.services.entries import PlannedUpdate
from sds.admin.services.revocations import BlastRadius
from sds.admin.wire.common import (
    DurationField,
    Input,
    Output,
    SelectorField,
    SpiffeIdField,
    TextField,
    TimeField,
    TimeOut,
    TrustDomainField,
    read,
    seconds,
)
from sds.admin.wire.revocations import BlastRadiusOut, radius_out

Check = Callable[[EntrySpec], Sequence[FieldProblem]]


class EntryIn(Input):
    """What a client says of an entry."""

    spiffe_id: SpiffeIdField
    parent_id: SpiffeIdField
    selectors: list[SelectorField]
    x509_ttl: DurationField | None = None
    dns_names: list[str] = Field(default_factory=list)
    hint: str = ""
    owner: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    expires_at: TimeField | None = None
    jwt_ttl: DurationField | None = None
    federates_with: list[TrustDomainField] = Field(default_factory=list)
    profile: str = ""
    extra_sans: list[str] = Field(default_factory=list)
    subject: str = ""

    def spec(self) -> EntrySpec:
        return EntrySpec(
            spiffe_id=self.spiffe_id,
            parent_id=self.parent_id,
            selectors=frozenset(self.selectors),
            x509_svid_ttl=self.x509_ttl,
            dns_names=tuple(self.dns_names),
            hint=self.hint,
            owner=self.owner,
            labels=MappingProxyType(dict(self.labels)),
            expires_at=self.expires_at,
            jwt_svid_ttl=self.jwt_ttl,
            federates_with=tuple(self.federates_with),
            profile=self.profile,
            extra_sans=tuple(self.extra_sans),
            subject=self.subject,
        )


E = TypeVar("E", bound=EntryIn)


class EntryAgain(EntryIn):
    """An entry as the API gave it out, edited: what the server sets may stand in it."""

    id: TextField | None = None
    revision: int | None = None
    created_at: TimeField | None = None  # read-only, ignored
    updated_at: TimeField | None = None  # read-only, ignored


class EntryOut(Output):
    id: str
    revision: int
    spiffe_id: str
    parent_id: str
    selectors: list[str]
    x509_ttl: int | float | None
    dns_names: list[str]
    hint: str
    owner: str
    labels: dict[str, str]
    expires_at: TimeOut | None
    jwt_ttl: int | float | None
    federates_with: list[str]
    profile: str
    extra_sans: list[str]
    subject: str
    created_at: TimeOut
    updated_at: TimeOut


class PlannedOut(EntryOut):
    """Nothing was done. The entry is as it would stand, `changes` has what would be another value (before, after), and
    `blast_radius` who holds what was issued under it, which stays as it is until it is issued anew.
    """

    dry_run: bool
    changes: dict[str, tuple[Any, Any]]
    blast_radius: BlastRadiusOut


class EntryPage(Output):
    entries: list[EntryOut]
    next_cursor: str | None


class DeletedOut(Output):
    """`dry_run`: nothing was done, and `blast_radius` says what was issued under the entry and who holds it."""

    entry: EntryOut
    last_certificate_expires_at: TimeOut | None
    dry_run: bool = False
    blast_radius: BlastRadiusOut | None = None


class PruneIn(Input):
    """Which entries may be deleted because the request does not name them; at least one filter, or `all`."""

    parent_id: SpiffeIdField | None = None
    owner: TextField | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    all: bool = False

    def scope(self) -> PruneScope:
        narrowed = self.parent_id is not None or self.owner is not None or bool(self.labels)
        if narrowed == self.all:
            raise InvalidInput([FieldProblem("prune", "needs parent_id, owner or labels, or all: true, but not both")])
        return PruneScope(self.parent_id, self.owner, MappingProxyType(dict(self.labels)))


class ApplyIn(Input):
    """The body of an apply; its entries are read one by one, each with its own problems."""

    entries: list[Any]
    dry_run: bool = False
    prune: PruneIn | None = None


class ChangeOut(Output):
    """`changes`: field -> [before, after]. `entry` is null for a creation that was not done (dry run)."""

    action: str
    spiffe_id: str
    parent_id: str
    selectors: list[str]
    entry: EntryOut | None
    changes: dict[str, tuple[Any, Any]]
    last_certificate_expires_at: TimeOut | None


class ApplyOut(Output):
    dry_run: bool
    changes: list[ChangeOut]


def entry_out(entry: RegistrationEntry) -> EntryOut:
    spec = entry.spec
    return EntryOut(
        id=entry.id,
        revision=entry.revision,
        spiffe_id=str(spec.spiffe_id),
        parent_id=str(spec.parent_id),
        selectors=sorted(map(str, spec.selectors)),
        x509_ttl=None if spec.x509_svid_ttl is None else seconds(spec.x509_svid_ttl),
        dns_names=list(spec.dns_names),
        hint=spec.hint,
        owner=spec.owner,
        labels=dict(sorted(spec.labels.items())),
        expires_at=spec.expires_at,
        jwt_ttl=None if spec.jwt_svid_ttl is None else seconds(spec.jwt_svid_ttl),
        federates_with=[domain.name for domain in spec.federates_with],
        profile=spec.profile,
        extra_sans=list(spec.extra_sans),
        subject=spec.subject,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
    )


def planned_out(planned: PlannedUpdate, radius: BlastRadius) -> PlannedOut:
    said = {"dry_run": True, "changes": dict(planned.changes), "blast_radius": radius_out(radius)}
    return PlannedOut.model_validate({**entry_out(planned.entry).model_dump(), **said})


def deleted_out(deleted: DeletedEntry, radius: BlastRadius | None = None) -> DeletedOut:
    """With `radius` for a dry run."""
    return DeletedOut(
        entry=entry_out(deleted.entry),
        last_certificate_expires_at=deleted.last_certificate_expires_at,
        dry_run=radius is not None,
        blast_radius=None if radius is None else radius_out(radius),
    )


def change_out(change: ApplyChange) -> ChangeOut:
    return ChangeOut(
        action=change.action.value,
        spiffe_id=str(change.spec.spiffe_id),
        parent_id=str(change.spec.parent_id),
        selectors=sorted(map(str, change.spec.selectors)),
        entry=None if change.entry is None else entry_out(change.entry),
        changes=dict(change.changes),
        last_certificate_expires_at=change.last_certificate_expires_at,
    )


def applied_json(changes: Sequence[ApplyChange], *, dry_run: bool) -> bytes:
    """An ApplyOut, written."""
    return ApplyOut(dry_run=dry_run, changes=[change_out(each) for each in changes]).model_dump_json().encode()


def read_entry(value: object, check: Check) -> EntrySpec:
    """A new entry. Raises InvalidInput with all problems at once: of the JSON and of the rules."""
    return _read(EntryIn, value, check, "").spec()


def read_replacement(value: object, check: Check, prefix: str = "") -> ApplyItem:
    """An entry that may carry what the server set. Raises InvalidInput with all problems at once."""
    entry = _read(EntryAgain, value, check, prefix)
    return ApplyItem(spec=entry.spec(), id=entry.id, revision=entry.revision)


def read_items(values: Sequence[object], check: Check) -> list[ApplyItem]:
    """The entries of an apply. Raises InvalidInput with all problems of all of them (the first 100)."""
    items: list[ApplyItem] = []
    problems: list[FieldProblem] = []
    for index, value in enumerate(values):
        try:
            items.append(read_replacement(value, check, f"entries[{index}]"))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems[:MAX_PROBLEMS])
    return items


MAX_PROBLEMS = 100

_STAND_IN: dict[str, object] = {
    "spiffe_id": "spiffe://stand-in.invalid/x",
    "parent_id": "spiffe://stand-in.invalid/y",
    "selectors": ["unix:uid:0"],
}


def _read(model: type[E], value: object, check: Check, prefix: str) -> E:
    problems: list[FieldProblem]
    try:
        entry = read(model, value, prefix)
    except InvalidInput as error:
        if not isinstance(value, dict):
            raise
        problems = [*error.problems, *_others(model, value, check, prefix, error.problems)]
    else:
        problems = [_at(prefix, each) for each in check(entry.spec())]
        if not problems:
            return entry
    raise InvalidInput(problems[:MAX_PROBLEMS])


def _others(
    model: type[EntryIn],
    value: dict[str, object],
    check: Check,
    prefix: str,
    known: Sequence[FieldProblem],
) -> list[FieldProblem]:
    """What the rules hold against the readable fields: the unreadable ones are replaced and their verdict dropped."""
    bad = {_head(each.field.removeprefix(prefix).lstrip(".")) for each in known}
    good = {key: each for key, each in value.items() if key not in bad and key in model.model_fields}
    try:
        entry = read(model, {**_STAND_IN, **good})
    except InvalidInput:
        return []
    return [_at(prefix, each) for each in check(entry.spec()) if _head(each.field) not in bad]


def _head(path: str) -> str:
    return path.split("[", 1)[0].split(".", 1)[0]


def _at(prefix: str, problem: FieldProblem) -> FieldProblem:
    return FieldProblem(f"{prefix}.{problem.field}", problem.problem) if prefix else problem
