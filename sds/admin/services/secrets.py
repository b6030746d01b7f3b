"""Named secrets: what is defined, how each stands, and the values that are written here. No answer has a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from attestation.entry import RegistrationEntry
from ca.masked import Masked
from sds.admin.errors import FieldProblem
from sds.admin.services.common import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.secrets.grant import Grant
from sds.secrets.secret import Secret, SecretKind, SecretSpec, SecretState, VersionInfo

_NOTHING: Mapping[str, str] = MappingProxyType({})

SHOWN = 100
"""Grants and entries of one secret that an answer lists; the numbers beside them count all."""


@dataclass(frozen=True, slots=True)
class SecretQuery:
    """Filters are and-ed; one that is not given matches all."""

    prefix: str = ""  # of its name, by characters
    kind: SecretKind | None = None
    backend: str | None = None  # embedded, kv, database, pki
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # the secret has all of these
    problem: bool | None = None  # whether something is wrong with it
    order: str = "name"  # or -name
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A secret, how it stood at its source, how many grants it has, and how many agents watch it here.

    `watchers`: of the replica that answers; each agent is connected to one.
    """

    secret: Secret
    state: SecretState
    grants: int
    watchers: int


@dataclass(frozen=True, slots=True)
class SecretDetail:
    """One secret with the oldest `SHOWN` of its grants."""

    info: SecretInfo
    granted: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class CreatedSecret:
    """`created` is False for one that stood already with the same values: nothing was written."""

    info: SecretInfo
    created: bool


@dataclass(frozen=True, slots=True)
class DeletedSecret:
    """What goes with it: its grants, and who loses it. The lists have at most `SHOWN`, the numbers count all.

    `versions`: values that lie here and are destroyed. `dry_run`: nothing was done.
    """

    info: SecretInfo
    dry_run: bool
    granted: tuple[Grant, ...]
    entries: tuple[RegistrationEntry, ...]
    entries_total: int
    versions: int


@dataclass(frozen=True, slots=True, eq=False)
class PutOrder:
    """A new value. `if_version`: only if this is the newest version now, 0 for none."""

    fields: Mapping[str, Masked[bytes]] = field(repr=False)
    if_version: int | None = None


class SecretAdmin(Protocol):
    """Secrets are named by their names. Methods that name one raise NotFound where there is none."""

    @property
    def most_bytes(self) -> int:
        """The most that all fields of one value may have together, in bytes."""
        ...

    def problems(self, spec: SecretSpec) -> Sequence[FieldProblem]:
        """Everything that the rules hold against `spec`; empty when it may be stored. No I/O."""
        ...

    async def create(self, call: AdminCall, spec: SecretSpec) -> CreatedSecret:
        """Idempotent. Raises InvalidInput, NameTaken when the name stands with other values."""
        ...

    async def find(self, query: SecretQuery) -> Page[SecretInfo]:
        """In order of names. Raises InvalidCursor."""
        ...

    async def get(self, name: str) -> SecretDetail: ...

    async def update(self, call: AdminCall, name: str, spec: SecretSpec, expected_revision: int | None) -> SecretDetail:
        """Replaces the spec; an equal one changes nothing. Another name renames it, and its grants stay.

        Raises InvalidInput, NameTaken, Conflict if the revision is another one.
        """
        ...

    async def delete(
        self, call: AdminCall, name: str, expected_revision: int | None, *, dry_run: bool
    ) -> DeletedSecret:
        """Takes it from everybody, with its grants and values. A dry run says who that is. Raises Conflict."""
        ...

    async def put(self, call: AdminCall, name: str, order: PutOrder, condition: Condition = ANY) -> VersionInfo:
        """Writes a new version of an embedded secret, which is delivered at once unless another one is pinned.

        Raises InvalidInput where values come from elsewhere (field source) or this one is not fit to be sent (field
        fields), and Conflict if `if_version` is not the newest, or for another revision than the condition's.
        """
        ...

    async def refresh(self, call: AdminCall, name: str) -> SecretInfo:
        """Asks the source now; `state.problem` says what came of it."""
        ...

    async def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """All that the source still knows of, newest first. Raises SecretError if it cannot be asked."""
        ...

    async def rollback(self, call: AdminCall, name: str, version: int | None, condition: Condition = ANY) -> SecretInfo:
        """Delivers this version from now on, None: the newest again.

        Raises InvalidInput (field version) for one that its source does not have, or has destroyed; Conflict for
        another revision than the condition's.
        """
        ...
