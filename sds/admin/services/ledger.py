"""The audit log's tree: proofs, checkpoints, the log as a file, its verification and retention."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from sds.admin.services.audit import AuditRow, UnreadableRow
from sds.admin.services.common import AdminCall
from sds.audit.verify import Verdict

ExportFormat = Literal["jsonl", "csv"]


@dataclass(frozen=True, slots=True)
class EventDetail:
    """One event. `canonical` is what its leaf is the hash of; `leaf` is None until it is under a checkpoint.

    Of an unreadable one `canonical` is what stands there now, "" where that is no text.
    """

    row: AuditRow | UnreadableRow
    canonical: str
    leaf: int | None
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """RFC 9162 2.1.3; `note` is the checkpoint of `size` leaves."""

    leaf: int
    size: int
    path: tuple[bytes, ...]
    note: str


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """RFC 9162 2.1.4."""

    first: int
    second: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    size: int
    root: bytes
    note: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key that signs or has signed. `verifier` is its public half, `endorsement` the note of the key before it."""

    number: int
    verifier: str
    endorsement: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """Filters are and-ed. `action` is exact, or a prefix that ends in a dot."""

    format: ExportFormat = "jsonl"
    action: str | None = None
    outcome: str | None = None
    actor: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What retention takes, or would: all events before leaf `size`. `held_by` is what keeps it from taking more."""

    before: datetime
    size: int
    events: int
    held_by: str
    statement: str
    dry_run: bool


class LedgerAdmin(Protocol):
    async def event(self, sequence: int) -> EventDetail:
        """Raises NotFound."""
        ...

    async def inclusion(self, sequence: int) -> InclusionProof:
        """That the event is under the newest checkpoint. Raises NotFound, ProofUnavailable."""
        ...

    async def consistency(self, first: int, second: int) -> ConsistencyProof:
        """That the tree of `second` leaves begins with that of `first`. Raises NotFound, ProofUnavailable."""
        ...

    async def checkpoint(self, size: int | None) -> CheckpointInfo:
        """The newest, or the one of that size. Raises NotFound."""
        ...

    async def checkpoints(self, before: int | None, limit: int) -> tuple[CheckpointInfo, ...]:
        """Newest first; with `before` those of a smaller size."""
        ...

    async def keys(self) -> tuple[KeyInfo, ...]:
        """Oldest first; the last one signs."""
        ...

    async def export(self, query: ExportQuery) -> AsyncIterator[bytes]:
        """The log up to the newest checkpoint, in pieces of whole lines. Raises ProofUnavailable, and only before the
        first piece.
        """
        ...

    async def verify(self, call: AdminCall, remembered: Sequence[str]) -> Verdict:
        """Hold everything that is stored against what was signed. Raises TooManyRequests while another one does."""
        ...

    async def prune(self, call: AdminCall, before: datetime, *, dry_run: bool) -> PruneReport:
        """Take events that are older than `before`, which must have passed. Raises InvalidInput, TooManyRequests."""
        ...

    async def rotate_key(self, call: AdminCall) -> KeyInfo:
        """Sign with a new key from now on. Raises AuthorityUnavailable."""
        ...
