"""The two plugin families that prove facts. An attestor returns facts and never decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a node brings to prove itself, still untrusted. `unverified_payload` may be a secret: never log it."""

    type: str
    unverified_payload: bytes = b""

    def __repr__(self) -> str:
        return f"Evidence(type={self.type!r}, {len(self.unverified_payload)} bytes)"


@dataclass(frozen=True, slots=True)
class AttestedNode:
    """What the evidence proved: the agent's SPIFFE ID and facts about its node."""

    agent_id: SpiffeId
    selectors: Selectors


class NodeAttestor(Protocol):
    """Server side of one way to prove a node."""

    async def attest(self, evidence: Evidence, *, now: datetime, address: str) -> AttestedNode:
        """Verify `evidence` from the host `address`. Raises AttestationRefused with a reason safe to show."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """A local caller as the kernel names it. `start_time` is in clock ticks since boot (proc(5), field 22)."""

    pid: int
    uid: int
    gid: int
    start_time: int


class WorkloadAttestor(Protocol):
    """Agent side: facts about one local process."""

    def attest(self, process: Process) -> Selectors:
        """Facts about `process`; what cannot be read is absent and logged. Raises AttestationRefused if it is gone."""
        ...
