"""What the admin API answers about revocations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LostCertificate:
    serial: str
    spiffe_id: str
    profile: str
    authority_id: str
    not_after: datetime
    agent_id: str | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class LiveStream:
    agent_id: str
    id: str
    protocol: str
    pid: int
    path: str
    node_id: str
    spiffe_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unreached:
    stream: LiveStream
    why: str


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """Lists are cut; the totals are not."""

    certificates_total: int
    fresh: int
    certificates: tuple[LostCertificate, ...]
    identities_total: int
    identities: tuple[str, ...]
    entries_total: int
    entries: tuple[str, ...]
    agents_total: int
    agents: tuple[str, ...]
    owners: tuple[str, ...]
    streams_total: int
    streams: tuple[LiveStream, ...]
    unreached_total: int
    unreached: tuple[Unreached, ...]
    last_expiry: datetime | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    id: str
    kind: str
    value: str
    reason: str
    incident: str
    created_at: datetime
    created_by: str
    lifted_at: datetime | None
    lifted_by: str


@dataclass(frozen=True, slots=True)
class Revocation:
    dry_run: bool
    kind: str
    value: str
    reason: str
    incident: str
    blast_radius: BlastRadius
    block: Block | None
    problem: str


@dataclass(frozen=True, slots=True)
class Lifted:
    block: Block
    released: bool
    problem: str


@dataclass(frozen=True, slots=True)
class Revoked:
    serial: str
    authority_id: str
    not_after: datetime
    reason: str
    revoked_at: datetime
    block_id: str
