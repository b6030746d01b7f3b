"""Numbers for an overview. Each is cheap to have or remembered for some seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sds.admin.services.common import AdminCall


@dataclass(frozen=True, slots=True)
class Expiring:
    """How many identities' newest certificates expire within [start, end) if nothing is renewed."""

    start: datetime
    end: datetime
    count: int


@dataclass(frozen=True, slots=True)
class AuditHealth:
    """`events` not yet under a checkpoint; `sinks` that are behind or in trouble."""

    size: int
    checkpoint_at: datetime | None
    events_waiting: int
    sinks: int
    sinks_in_trouble: int
    oldest_lag_seconds: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """As of `at`. Rates are of the last hour, a number a minute, oldest first."""

    at: datetime
    entries: int
    identities: int
    certificates: int
    agents: int
    agents_connected: int
    agents_silent: int
    agents_banned: int
    streams: int
    streams_nacked: int
    streams_behind: int
    secrets: int
    secrets_in_trouble: int
    grants: int
    issued_a_minute: tuple[int, ...]
    refused_a_minute: tuple[int, ...]
    expiring: tuple[Expiring, ...]
    rotation: str
    """State of the X.509 authorities' rotation, a word: steady, prepared, waiting, blocked."""
    audit: AuditHealth


class StatisticsAdmin(Protocol):
    async def overview(self, call: AdminCall) -> Statistics: ...
