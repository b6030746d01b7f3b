"""What the admin API says of authorities, as frozen dataclasses. Unknown keys are ignored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Straggler:
    """An agent (no `stream_id`) or a sidecar's stream that does not have the bundle yet, and why."""

    agent_id: str
    stream_id: str
    pid: int
    path: str
    spiffe_ids: tuple[str, ...]
    why: str
    detail: str
    sequence: int
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Gate:
    open: bool
    sequence: int
    total: int
    acked: int
    waits_until: datetime | None
    reasons: tuple[str, ...]
    stragglers: tuple[Straggler, ...]
    stragglers_total: int


@dataclass(frozen=True, slots=True)
class Successor:
    prepare: datetime
    activate: datetime
    deadline: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    id: str
    kind: str
    state: str
    tainted: bool
    revoked: bool
    key_type: str
    key_manager: str
    upstream: str
    cross_signed: bool
    published_sequence: int
    not_before: datetime
    not_after: datetime
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    kept_until: datetime | None
    successor_due: Successor | None
    gate: Gate | None

    @property
    def sound(self) -> bool:
        return not (self.tainted or self.revoked)


@dataclass(frozen=True, slots=True)
class Due:
    step: str
    kind: str
    authority_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    authorities: tuple[Authority, ...]
    due: tuple[Due, ...]
