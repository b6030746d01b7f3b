"""What sidecars hold, as their agents reported it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.admin.services.common import Page
from sds.store.records import ResourceRecord


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    pid: int
    uid: int
    path: str


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
    resources: tuple[ResourceRecord, ...]


@dataclass(frozen=True, slots=True)
class StreamQuery:
    agent_id: SpiffeId | None = None
    spiffe_id: SpiffeId | None = None
    limit: int = 100
    cursor: str | None = None


class StreamAdmin(Protocol):
    """The fleet view: which sidecar holds what."""

    async def find(self, query: StreamQuery) -> Page[StreamInfo]: ...
