"""What agents and streams are looked for by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from attestation.spiffe_id import SpiffeId
from sds.store.records import Part


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Filters are and-ed; one that is not given matches all. `silent_since`: not heard of from then on."""

    banned: bool | None = None
    attestation_type: str | None = None
    below: SpiffeId | None = None
    version: str | None = None
    downstream: bool | None = None
    silent_since: datetime | None = None
    scopes: tuple[Part, ...] = ()  # parts of the trust domain, or-ed; empty is everything. Agents have no labels.
    order: str = "spiffe_id"  # or attested, expires; with a minus the other way round


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """Filters are and-ed; one that is not given matches all. `resource`: a name that it has asked for. `serial`: it was
    sent this certificate, or has acknowledged it.
    """

    agent_id: SpiffeId | None = None
    spiffe_id: SpiffeId | None = None
    node_id: str | None = None
    protocol: str | None = None
    resource: str | None = None
    rejected: bool | None = None
    waiting: bool | None = None
    serial: str | None = None
    scopes: tuple[Part, ...] = ()  # parts of the trust domain, or-ed; empty is everything
    order: str = "agent"  # or opened, lag (the shortest first); with a minus the other way round
