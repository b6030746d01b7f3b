"""From what is recorded of agents and streams to who verifies by which trust bundle (ca.gate). Pure.

A sidecar counts for as long as its agent does: until the agent is banned, or its own SVID has expired, after which it
has nothing left to verify with either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from attestation.spiffe_id import SpiffeId
from ca.gate import Fleet, Holder, Lag
from sds.store.records import NEVER_ACKNOWLEDGED, AgentRecord, ResourceRecord, StreamRecord

SILENT_AFTER = timedelta(minutes=2)
"""An agent that was not heard of for so long is not connected; one that is says something four times as often."""


def fleet_of(
    agents: Iterable[AgentRecord],
    streams: Iterable[StreamRecord],
    now: datetime,
    settle: timedelta,
    *,
    ahead: Mapping[SpiffeId, int] = MappingProxyType({}),
    last_leaf: Mapping[str, datetime] = MappingProxyType({}),
) -> Fleet:
    """`settle`: how long after sending a client that acknowledges nothing is taken to use what it got. `ahead`: of each
    agent, further streams that have every bundle that is asked for.
    """
    counted = {agent.spiffe_id: agent for agent in agents if not agent.banned and now <= agent.not_after}
    holders = [_agent(agent, now) for agent in counted.values()]
    for stream in streams:
        agent = counted.get(stream.agent_id)
        if agent is not None and (holder := _stream(stream, agent, now, settle)) is not None:
            holders.append(holder)
    return Fleet(tuple(holders), last_leaf, sum(number for agent_id, number in ahead.items() if agent_id in counted))


def _agent(agent: AgentRecord, now: datetime) -> Holder:
    return Holder(agent.spiffe_id, agent.bundle_sequence, _silence(agent, now), last_seen=agent.last_seen)


def _stream(stream: StreamRecord, agent: AgentRecord, now: datetime, settle: timedelta) -> Holder | None:
    """None for one that was never sent our bundle: it verifies nobody by it."""
    held = [resource for resource in stream.resources if resource.sent_sequence]
    if not held:
        return None
    if stream.protocol == NEVER_ACKNOWLEDGED:
        sent = [resource.sent_at for resource in held if resource.sent_at is not None]
        sequence = min(resource.sent_sequence for resource in held)
        return _holder(stream, agent, sequence, _silence(agent, now), "", max(sent, default=now) + settle)
    worst = min(held, key=_acknowledged)
    if rejected(worst):
        return _holder(stream, agent, _acknowledged(worst), Lag.NACKED, worst.nack_detail, None)
    return _holder(stream, agent, _acknowledged(worst), _silence(agent, now), "", None)


def _holder(
    stream: StreamRecord, agent: AgentRecord, sequence: int, lag: Lag, detail: str, settles_at: datetime | None
) -> Holder:
    return Holder(
        agent_id=stream.agent_id,
        sequence=sequence,
        lag=lag,
        detail=detail,
        stream_id=stream.stream_id,
        pid=stream.process.pid,
        path=stream.process.path,
        spiffe_ids=stream.spiffe_ids,
        last_seen=agent.last_seen,
        settles_at=settles_at,
    )


def rejected(resource: ResourceRecord) -> bool:
    """Whether the client has refused the newest that it was sent."""
    return bool(resource.nacked_version) and resource.nacked_version == resource.sent_version


def _acknowledged(resource: ResourceRecord) -> int:
    """A client may take back its word: accept what it was sent, and then reject the same. Nobody knows what it has."""
    if rejected(resource) and resource.acked_version == resource.sent_version:
        return 0
    return resource.acked_sequence


def _silence(agent: AgentRecord, now: datetime) -> Lag:
    silent = agent.last_seen is None or now - agent.last_seen > SILENT_AFTER
    return Lag.NOT_CONNECTED if silent else Lag.NOT_ACKED
