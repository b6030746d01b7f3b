"""What the admin API needs from the server: Protocols and domain values, implemented in `sds.server`.

Errors that every method may raise, and what `problems.py` makes of them:
`sds.store.errors`: NotFound 404, AlreadyExists 409, Conflict 412, StoreUnavailable 503;
`sds.admin.errors`: InvalidInput 422, TooManyRequests 429; `attestation.errors`: Invalid... 422;
`ca.errors`: AuthorityUnavailable 503, IssuanceRefused 409, KeyUnwrapFailed 503. Anything else is a 500 without detail.

Methods that change something take an `AdminCall` first: its actor and request id belong into the audit event, which is
appended in the transaction of the change (fail closed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector, Selectors
from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle
from ca.masked import Masked
from sds.admin.errors import FieldProblem
from sds.audit.event import AuditEvent

T = TypeVar("T")


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


def _no_changes() -> Mapping[str, tuple[object, object]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AdminCall:
    """Who asks, as the kernel knows them, and under which request id. Becomes `Actor(kind="admin", ...)`."""

    uid: int
    gid: int
    pid: int
    user: str  # the uid's login name, or "uid:1000" where it has none
    request_id: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; `next_cursor` is opaque and None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None


# ---------------------------------------------------------------------------------------------------------- entries


@dataclass(frozen=True, slots=True)
class EntryQuery:
    """Filters are and-ed; an empty filter matches all."""

    spiffe_id: SpiffeId | None = None
    parent_id: SpiffeId | None = None
    selector: Selector | None = None  # the entry has this one among its selectors
    owner: str | None = None
    hint: str | None = None
    labels: Mapping[str, str] = field(default_factory=_no_labels)  # the entry has all of these
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

    async def delete(self, call: AdminCall, entry_id: str, expected_revision: int | None) -> DeletedEntry: ...

    async def apply(
        self, call: AdminCall, items: Sequence[ApplyItem], *, prune: PruneScope | None, dry_run: bool
    ) -> tuple[ApplyChange, ...]:
        """All or nothing, in one transaction; `sds.admin.apply.plan` decides what. The items' order, then deletions."""
        ...


# ----------------------------------------------------------------------------------------------------------- agents


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An attested agent. `banned_at` None: not banned. `connected`: it watches this server now, as far as known."""

    spiffe_id: SpiffeId
    attestation_type: str
    selectors: Selectors
    serial: str  # hex, of its current SVID
    not_after: datetime
    attested_at: datetime
    renewed_at: datetime | None = None
    last_seen: datetime | None = None
    banned_at: datetime | None = None
    banned_reason: str = ""
    address: str = ""
    version: str = ""
    connected: bool = False
    entries: int = 0
    streams: int = 0


@dataclass(frozen=True, slots=True)
class AgentQuery:
    banned: bool | None = None
    attestation_type: str | None = None
    limit: int = 100
    cursor: str | None = None


class AgentAdmin(Protocol):
    """Agents. All raise NotFound for an agent that never attested or was deleted."""

    async def find(self, query: AgentQuery) -> Page[AgentInfo]: ...

    async def get(self, spiffe_id: SpiffeId) -> AgentInfo: ...

    async def ban(self, call: AdminCall, spiffe_id: SpiffeId, reason: str) -> AgentInfo:
        """Ends its streams and calls, and refuses it (and any new attestation of its ID) from now on. Idempotent."""
        ...

    async def delete(self, call: AdminCall, spiffe_id: SpiffeId) -> AgentInfo:
        """Forgets it, ban included: its SVID is refused from now on, but it may attest again. Returns what stood."""
        ...


# ---------------------------------------------------------------------------------------------------------- streams


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    pid: int
    uid: int
    path: str


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """What one stream holds of one resource. Versions and serials are "" where there is none."""

    name: str
    sent_version: str = ""
    acked_version: str = ""
    nacked_version: str = ""
    nack_detail: str = ""
    sent_at: datetime | None = None
    acked_at: datetime | None = None
    sent_serial: str = ""
    acked_serial: str = ""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a workload, as its agent reported it.

    `protocol`: sotw, delta, ads-sotw, ads-delta or workload-api (where nothing is ever acknowledged).
    """

    id: str
    agent_id: SpiffeId
    protocol: str
    process: ProcessInfo
    spiffe_ids: tuple[str, ...]
    node_id: str
    opened_at: datetime
    resources: tuple[ResourceInfo, ...]


@dataclass(frozen=True, slots=True)
class StreamQuery:
    agent_id: SpiffeId | None = None
    spiffe_id: SpiffeId | None = None
    limit: int = 100
    cursor: str | None = None


class StreamAdmin(Protocol):
    """The fleet view: which sidecar holds what."""

    async def find(self, query: StreamQuery) -> Page[StreamInfo]: ...


# ------------------------------------------------------------------------------------------- tokens, bundle, KEK, audit


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A join token; only its hash is stored, so this is the only time it can be shown."""

    token: Masked[str]
    spiffe_id: SpiffeId  # what the agent will be called
    expires_at: datetime


class TokenAdmin(Protocol):
    async def create(self, call: AdminCall, ttl: timedelta | None, spiffe_id: SpiffeId | None) -> IssuedToken:
        """A one-time token. None: the server's default TTL, a random agent ID.

        Raises InvalidInput (fields ttl_seconds, spiffe_id) for a TTL beyond policy, or an ID that no agent may have.
        """
        ...


class BundleAdmin(Protocol):
    async def current(self) -> TrustBundle: ...


@dataclass(frozen=True, slots=True)
class KekRotation:
    """`old_id` == `new_id` never happens; `rewrapped` keys now lie under `new_id`."""

    old_id: str
    new_id: str
    rewrapped: int


class KekAdmin(Protocol):
    async def rotate(self, call: AdminCall) -> KekRotation:
        """Makes a new key-encryption key and re-wraps every key under it, in one transaction."""
        ...


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An audit event and its place in the log."""

    sequence: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Ascending by sequence. `after` None: the newest `limit` events; else the first `limit` ones after it."""

    after: int | None = None
    limit: int = 100
    action: str | None = None  # exact, or a prefix that ends in a dot: "entry."
    outcome: str | None = None
    actor: str | None = None
    target: str | None = None


class AuditAdmin(Protocol):
    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow, ...]:
        """Matching events; if there are none and `wait` > 0, waits that long for one (long poll), then ()."""
        ...

    async def refused(self, call: AdminCall, action: str, target: str, reason: str) -> None:
        """Records that a write was refused (outcome "refused"), in a transaction of its own."""
        ...


@dataclass(frozen=True, slots=True)
class AdminServices:
    """All of it, handed to `create_app`."""

    entries: EntryAdmin
    agents: AgentAdmin
    streams: StreamAdmin
    tokens: TokenAdmin
    bundle: BundleAdmin
    kek: KekAdmin
    audit: AuditAdmin
