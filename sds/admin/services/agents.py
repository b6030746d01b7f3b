"""Agents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import Scope
from sds.admin.services.common import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition


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
    downstream: bool = False  # another server of the trust domain, which may get signing certificates
    bundle_sequence: int = 0  # of the trust bundle that it said it verifies by; 0: it has not said so
    connected: bool = False
    entries: int = 0
    streams: int = 0


@dataclass(frozen=True, slots=True)
class AgentQuery:
    """Filters are and-ed. `silent_since`: not heard of from then on. `order`: spiffe_id, attested or expires, the last
    two by its SVID; with a minus the other way round.
    """

    banned: bool | None = None
    attestation_type: str | None = None
    below: SpiffeId | None = None
    version: str | None = None
    downstream: bool | None = None
    silent_since: datetime | None = None
    order: str = "spiffe_id"
    scopes: tuple[Scope, ...] = ()  # parts of the trust domain, or-ed; empty is everything
    limit: int = 100
    cursor: str | None = None


class AgentAdmin(Protocol):
    """Agents. All raise NotFound for an agent that never attested or was deleted, and Conflict if a condition fails."""

    async def find(self, query: AgentQuery) -> Page[AgentInfo]: ...

    async def get(self, spiffe_id: SpiffeId) -> AgentInfo: ...

    async def ban(self, call: AdminCall, spiffe_id: SpiffeId, reason: str, condition: Condition = ANY) -> AgentInfo:
        """Ends its streams and calls, and refuses it (and any new attestation of its ID) from now on. Idempotent."""
        ...

    async def delete(self, call: AdminCall, spiffe_id: SpiffeId, condition: Condition = ANY) -> AgentInfo:
        """Forgets it, ban included: its SVID is refused from now on, but it may attest again. Returns what stood."""
        ...
