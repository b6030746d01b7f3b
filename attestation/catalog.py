"""Which attestors there are: explicit tables, name to factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from attestation.attestor import AttestedNode, Evidence, NodeAttestor, Process, WorkloadAttestor
from attestation.errors import AttestationRefused
from attestation.node import join_token
from attestation.node.join_token import JoinTokenAttestor, JoinTokenStore
from attestation.selector import Selectors
from attestation.workload import unix
from attestation.workload.unix import FactLog, UnixAttestor, UnixConfig


@dataclass(frozen=True, slots=True)
class NodeParts:
    """What node attestors are made of."""

    join_tokens: JoinTokenStore


@dataclass(frozen=True, slots=True)
class WorkloadParts:
    """What workload attestors are made of. An attestor without a config is off."""

    log: FactLog
    now: Callable[[], datetime]
    unix: UnixConfig | None = field(default_factory=UnixConfig)


NODE_ATTESTORS: Mapping[str, Callable[[NodeParts], NodeAttestor]] = MappingProxyType(
    {
        join_token.TYPE: lambda parts: JoinTokenAttestor(parts.join_tokens),
    }
)
"""Any number may be on; the evidence's type names the one that is asked."""

WORKLOAD_ATTESTORS: Mapping[str, Callable[[WorkloadParts], WorkloadAttestor | None]] = MappingProxyType(
    {
        unix.TYPE: lambda parts: UnixAttestor(parts.unix, log=parts.log, now=parts.now) if parts.unix else None,
    }
)
"""Any number may be on; all are asked, and their facts add up."""


def node_attestor(parts: NodeParts) -> NodeAttestor:
    """All node attestors behind one."""
    return NodeAttestors({name: factory(parts) for name, factory in NODE_ATTESTORS.items()})


def workload_attestor(parts: WorkloadParts) -> WorkloadAttestor:
    """All workload attestors that are on, behind one."""
    made = (factory(parts) for factory in WORKLOAD_ATTESTORS.values())
    return WorkloadAttestors([attestor for attestor in made if attestor is not None])


class NodeAttestors:
    """Asks the attestor that the evidence names. Implements NodeAttestor."""

    __slots__ = ("_by_type",)

    def __init__(self, by_type: Mapping[str, NodeAttestor]) -> None:
        self._by_type = dict(by_type)

    async def attest(self, evidence: Evidence, *, now: datetime, address: str) -> AttestedNode:
        """Raises AttestationRefused, also for a type that is unknown or off."""
        attestor = self._by_type.get(evidence.type)
        if attestor is None:
            known = ", ".join(sorted(self._by_type)) or "none"
            raise AttestationRefused(f"this server does not attest nodes that way; it knows: {known}")
        return await attestor.attest(evidence, now=now, address=address)


class WorkloadAttestors:
    """Adds up what several attestors find. Implements WorkloadAttestor."""

    __slots__ = ("_attestors",)

    def __init__(self, attestors: Sequence[WorkloadAttestor]) -> None:
        self._attestors = tuple(attestors)

    def attest(self, process: Process) -> Selectors:
        """Raises AttestationRefused if any attestor does (the process is gone)."""
        selectors: Selectors = frozenset()
        for attestor in self._attestors:
            selectors |= attestor.attest(process)
        return selectors
