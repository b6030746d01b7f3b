"""What the follower of the change feed hands to the registry: the whole truth, or what was read again of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from sds.server.revocation.blocked import NOTHING, Blocked
from sds.store.records import AgentRecord


@dataclass(frozen=True, slots=True)
class Touched:
    """A past change: the entry `entry_id`, below `parent_id` at that time, was changed at `revision`."""

    revision: int
    parent_id: SpiffeId
    entry_id: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The whole truth at `revision`. `history` is every change after `history_floor`, oldest first."""

    epoch: str
    revision: int
    entries: Sequence[RegistrationEntry]
    agents: Sequence[AgentRecord]
    bundle: TrustBundle
    history: Sequence[Touched] = ()
    history_floor: int = 0
    blocked: Blocked = NOTHING
    federated: Mapping[TrustDomain, TrustBundle] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refresh:
    """What was read again because the feed named it; None stands for a row that is gone."""

    revision: int
    entries: Mapping[str, RegistrationEntry | None] = field(default_factory=dict)
    agents: Mapping[SpiffeId, AgentRecord | None] = field(default_factory=dict)
    bundle: TrustBundle | None = None
    blocked: Blocked | None = None
    federated: Mapping[TrustDomain, TrustBundle | None] = field(default_factory=dict)
