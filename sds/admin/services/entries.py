"""Registration entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import Scope
from sds.admin.errors import FieldProblem
from sds.admin.services.common import AdminCall, Page


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


def _no_changes() -> Mapping[str, tuple[object, object]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EntryQuery:
    """Filters are and-ed; an empty filter matches all."""

    spiffe_id: SpiffeId | None = None
    below: SpiffeId | None = None  # the SPIFFE ID or, by whole segments, anything under it
    parent_id: SpiffeId | None = None
    selector: Selector | None = None  # the entry has this one among its selectors
    owner: str | None = None
    hint: str | None = None
    profile: str | None = None
    labels: Mapping[str, str] = field(default_factory=_no_labels)  # the entry has all of these
    expired: bool | None = None
    order: str = "created"  # or updated, spiffe_id; with a minus the other way round
    scopes: tuple[Scope, ...] = ()  # parts of the trust domain, or-ed; empty is everything
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class CreatedEntry:
    """`created` is False if an identical entry stood already (idempotent create): nothing was written."""

    entry: RegistrationEntry
    created: bool


@dataclass(frozen=True, slots=True)
class DeletedEntry:
    """The entry that is gone, and when the last certificate issued under it expires (None: none is unexpired)."""

    entry: RegistrationEntry
    last_certificate_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApplyItem:
    """One entry of an `apply`. It stands for the entry `id` if that exists, else for the one with its
    (spiffe_id, parent_id, selectors), else for a new one. `revision`, where given, is compared before a change.
    """

    spec: EntrySpec
    id: str | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class PruneScope:
    """Which entries `apply` deletes when they are not in the file: all that match every given filter."""

    parent_id: SpiffeId | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=_no_labels)


class ApplyAction(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class ApplyChange:
    """What happened (or, in a dry run, would happen) to one entry.

    `entry` is as it stands afterwards (before, for DELETE); None for a CREATE that was not done.
    `changes` maps REST field names to JSON-able (before, after), for UPDATE.
    """

    action: ApplyAction
    spec: EntrySpec
    entry: RegistrationEntry | None
    changes: Mapping[str, tuple[object, object]] = field(default_factory=_no_changes)
    last_certificate_expires_at: datetime | None = None  # for DELETE


@dataclass(frozen=True, slots=True)
class PlannedUpdate:
    """What an update would do. `entry`: as it would stand, but for its revision and times, which are as they are."""

    entry: RegistrationEntry
    changes: Mapping[str, tuple[object, object]]  # REST field names to JSON-able (before, after)


class EntryAdmin(Protocol):
    """Registration entries."""

    def problems(self, spec: EntrySpec) -> Sequence[FieldProblem]:
        """Everything that the rules and this server's policy hold against `spec`; empty when it may be stored.

        `field` is the REST field's name, as in `attestation.rules`. Does no I/O. The routes call it to report all
        problems at once; `create`, `update` and `apply` check again.
        """
        ...

    async def create(self, call: AdminCall, spec: EntrySpec) -> CreatedEntry:
        """Idempotent. Raises AlreadyExists when (spiffe_id, parent_id, selectors) stands with other values."""
        ...

    async def get(self, entry_id: str) -> RegistrationEntry: ...

    async def find(self, query: EntryQuery) -> Page[RegistrationEntry]: ...

    async def update(
        self, call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> RegistrationEntry:
        """Replaces the spec; an equal spec changes nothing. Raises Conflict if the revision is another one."""
        ...

    async def plan_update(
        self, call: AdminCall, entry_id: str, spec: EntrySpec, expected_revision: int | None
    ) -> PlannedUpdate:
        """What `update` would do; nothing is changed. Raises as that does."""
        ...

    async def delete(self, call: AdminCall, entry_id: str, expected_revision: int | None) -> DeletedEntry: ...

    async def apply(
        self, call: AdminCall, items: Sequence[ApplyItem], *, prune: PruneScope | None, dry_run: bool
    ) -> tuple[ApplyChange, ...]:
        """All or nothing, in one transaction; `sds.admin.apply.plan` decides what. The items' order, then deletions."""
        ...
