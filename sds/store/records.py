"""The values that repositories take and return, where attestation and ca have none of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from attestation.selector import Selector, Selectors
from attestation.spiffe_id import SpiffeId
from sds.audit.canonical import NotCanonical
from sds.audit.event import AuditEvent

T = TypeVar("T")


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; `next_cursor` is opaque and None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class Part(Protocol):
    """Of the trust domain: at or below a SPIFFE ID, with all of these labels; one that names neither is everything."""

    @property
    def below(self) -> SpiffeId | None: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Filters are and-ed; one that is not given matches all."""

    spiffe_id: SpiffeId | None = None
    below: SpiffeId | None = None  # this SPIFFE ID or, by whole segments, anything under it
    parent_id: SpiffeId | None = None
    selector: Selector | None = None  # the entry has this one among its selectors
    owner: str | None = None
    hint: str | None = None
    profile: str | None = None  # of its certificates; "" is the server's default
    labels: Mapping[str, str] = field(default_factory=_no_labels)  # the entry has all of these
    expired: bool | None = None
    scopes: tuple[Part, ...] = ()  # parts of the trust domain, or-ed; empty is everything
    order: str = "created"  # or updated, spiffe_id; with a minus the other way round


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An attested agent. `serial` (hex), `not_after` and `key_hash` (hex SHA-256 of the SPKI) are its SVID's."""

    spiffe_id: SpiffeId
    attestation_type: str
    selectors: Selectors
    serial: str
    not_after: datetime
    key_hash: str
    attested_at: datetime
    renewed_at: datetime | None = None
    last_seen: datetime | None = None
    banned_at: datetime | None = None
    banned_reason: str = ""
    address: str = ""
    version: str = ""
    downstream: bool = False  # another server of the trust domain, which may get an intermediate
    bundle_sequence: int = 0  # of the trust bundle that it said it verifies by

    @property
    def banned(self) -> bool:
        return self.banned_at is not None


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A join token by its hash (hex SHA-256). `used_at` None: still good until `expires_at`."""

    hash: str
    spiffe_id: SpiffeId
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    used_from: str = ""
    downstream: bool = False  # who uses it becomes a downstream server


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A local process as its agent reported it. `container` stands in the audit log, and in no other table."""

    pid: int
    uid: int
    path: str
    container: str = ""


NO_PROCESS = ProcessRecord(0, 0, "")


class CertificateStatus(StrEnum):
    """`INTENDED`: the decision is durable, the certificate may exist. `ISSUED`: it exists and is recorded."""

    INTENDED = "intended"
    ISSUED = "issued"


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """One certificate, from the intent on. `entry_id` "": not issued under an entry (agents, the server itself)."""

    serial: str  # hex
    spiffe_id: SpiffeId
    key_hash: str  # hex SHA-256 of the SPKI
    profile: str
    authority_id: str
    not_before: datetime
    not_after: datetime
    requested_at: datetime
    entry_id: str = ""
    entry_revision: int = 0
    agent_id: SpiffeId | None = None
    process: ProcessRecord = NO_PROCESS
    dns_names: tuple[str, ...] = ()
    der: bytes | None = None
    issued_at: datetime | None = None

    @property
    def status(self) -> CertificateStatus:
        return CertificateStatus.INTENDED if self.der is None else CertificateStatus.ISSUED


@dataclass(frozen=True, slots=True)
class CertificateFilter:
    """Filters are and-ed; one that is not given matches all."""

    serial: str | None = None
    spiffe_id: SpiffeId | None = None
    entry_id: str | None = None
    agent_id: SpiffeId | None = None
    key_hash: str | None = None
    authority_id: str | None = None
    profile: str | None = None
    live_at: datetime | None = None  # not expired then
    expires_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """How many certificates are unexpired, and when the first of the newest ones of each SPIFFE ID expires."""

    live: int
    identities: int
    first_expiry: datetime | None


@dataclass(frozen=True, slots=True)
class ResourceRecord:
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
    sent_sequence: int = 0  # of the trust domain's own bundle in that version; 0 where it holds none
    acked_sequence: int = 0

    @property
    def rejected(self) -> bool:
        """Whether what was sent last was answered with a NACK."""
        return bool(self.nacked_version) and self.nacked_version == self.sent_version

    @property
    def waiting(self) -> bool:
        """Whether what was sent last has not been answered yet."""
        return bool(self.sent_version) and self.sent_version not in {self.acked_version, self.nacked_version}


NEVER_ACKNOWLEDGED = "workload-api"
"""The protocol of streams whose clients say nothing of what they got."""


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One stream of a workload, as its agent reported it.

    `protocol`: sotw, delta, ads-sotw, ads-delta or workload-api (where nothing is ever acknowledged).
    """

    agent_id: SpiffeId
    stream_id: str
    protocol: str
    process: ProcessRecord
    spiffe_ids: tuple[str, ...]
    node_id: str
    opened_at: datetime
    resources: tuple[ResourceRecord, ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the newest version of any resource was answered with a NACK."""
        return any(one.rejected for one in self.resources)

    @property
    def waiting_since(self) -> datetime | None:
        """When the oldest of what has not been answered yet was sent; None if nothing is awaited."""
        if self.protocol == NEVER_ACKNOWLEDGED:
            return None
        return min((one.sent_at for one in self.resources if one.waiting and one.sent_at is not None), default=None)


@dataclass(frozen=True, slots=True)
class ReportPosition:
    """The last delivery report of an agent that was taken in."""

    run_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An audit event and its place in the log; `canonical` is the bytes that count.

    `read`: what they say, or why nobody can tell: somebody has altered them by hand.
    """

    seq: int
    read: AuditEvent | NotCanonical
    canonical: bytes

    @property
    def event(self) -> AuditEvent:
        """Raises NotCanonical."""
        if isinstance(self.read, NotCanonical):
            raise self.read
        return self.read


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Filters are and-ed. `action` is exact, or a prefix when it ends in a dot (``entry.``)."""

    action: str | None = None
    outcome: str | None = None
    actor: str | None = None
    target: str | None = None
    since: datetime | None = None  # not before
    until: datetime | None = None  # before
    request_id: str | None = None
    before: int | None = None  # events with a lower number


class ChangeKind(StrEnum):
    ENTRY = "entry"
    AGENT = "agent"
    AUTHORITY = "authority"
    BUNDLE = "bundle"
    BLOCK = "block"
    FEDERATION = "federation"
    SECRET = "secret"  # noqa: S105 - its definition, its grants or, where they lie here, its values; the key is its ID
    TICKETS = "tickets"
