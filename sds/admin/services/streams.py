"""What sidecars hold, as their agents reported it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import Scope
from sds.admin.services.common import Page
from sds.store.records import NEVER_ACKNOWLEDGED, ResourceRecord, StreamRecord


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    pid: int
    uid: int
    path: str


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a workload, as its agent reported it.

    `protocol`: sotw, delta, ads-sotw, ads-delta or workload-api (where nothing is ever acknowledged). `as_of`: when
    this was looked up, to which lags are counted.
    """

    id: str
    agent_id: SpiffeId
    protocol: str
    process: ProcessInfo
    spiffe_ids: tuple[str, ...]
    node_id: str
    opened_at: datetime
    resources: tuple[ResourceRecord, ...]
    as_of: datetime | None = None

    @property
    def nacked(self) -> bool:
        """Whether the newest version of any resource was refused."""
        return any(one.rejected for one in self.resources)

    @property
    def behind(self) -> bool:
        """Whether an answer to anything that was sent is awaited."""
        return any(self.lag_of(one) is not None for one in self.resources)

    @property
    def lag(self) -> timedelta:
        """For how long the oldest of what was sent has not been answered; zero where nothing is awaited."""
        return max((lag for one in self.resources if (lag := self.lag_of(one)) is not None), default=timedelta(0))

    def lag_of(self, resource: ResourceRecord) -> timedelta | None:
        """For how long this has not been answered; None if no answer is awaited."""
        if self.protocol == NEVER_ACKNOWLEDGED or not resource.waiting or resource.sent_at is None:
            return None
        return max((self.as_of or resource.sent_at) - resource.sent_at, timedelta(0))

    @classmethod
    def of(cls, record: StreamRecord, now: datetime) -> StreamInfo:
        process = record.process
        return cls(
            id=record.stream_id,
            agent_id=record.agent_id,
            protocol=record.protocol,
            process=ProcessInfo(process.pid, process.uid, process.path),
            spiffe_ids=record.spiffe_ids,
            node_id=record.node_id,
            opened_at=record.opened_at,
            resources=record.resources,
            as_of=now,
        )


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """Filters are and-ed. `resource`: a name that it has asked for. `behind`: whether it owes an answer.

    `order`: agent, opened or lag; with a minus the other way round.
    """

    agent_id: SpiffeId | None = None
    spiffe_id: SpiffeId | None = None
    node_id: str | None = None
    protocol: str | None = None
    resource: str | None = None
    nacked: bool | None = None
    behind: bool | None = None
    order: str = "agent"
    scopes: tuple[Scope, ...] = ()
    limit: int = 100
    cursor: str | None = None


class StreamAdmin(Protocol):
    """The fleet view: which sidecar holds what."""

    async def find(self, query: StreamQuery) -> Page[StreamInfo]: ...
