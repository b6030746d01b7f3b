"""Agents, streams, tokens, the key-encryption key and audit events as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sds.admin.services import AgentInfo, AuditRow, IssuedToken, KekRotation, StreamInfo, UnreadableRow
from sds.admin.services.revocations import BlastRadius
from sds.admin.wire.common import DurationField, Input, Output, SpiffeIdField, TextField, TimeOut
from sds.admin.wire.revocations import BlastRadiusOut, radius_out
from sds.store.records import ResourceRecord


class TokenIn(Input):
    ttl_seconds: DurationField | None = None
    spiffe_id: SpiffeIdField | None = None
    downstream: bool = False


class TokenOut(Output):
    """The only answer that carries a secret; it is written by `reveal` in one place and never logged."""

    token: str
    spiffe_id: str
    expires_at: TimeOut


class BanIn(Input):
    reason: TextField = ""


class AgentOut(Output):
    spiffe_id: str
    attestation_type: str
    selectors: list[str]
    serial: str
    not_after: TimeOut
    attested_at: TimeOut
    renewed_at: TimeOut | None
    last_seen: TimeOut | None
    banned: bool
    banned_at: TimeOut | None
    banned_reason: str
    address: str
    version: str
    downstream: bool
    bundle_sequence: int
    connected: bool
    entries: int
    streams: int


class AgentGoneOut(AgentOut):
    """`dry_run`: nothing was done, and `blast_radius` says what it asked for and who holds that now."""

    dry_run: bool = False
    blast_radius: BlastRadiusOut | None = None


class AgentPage(Output):
    agents: list[AgentOut]
    next_cursor: str | None


class ProcessOut(Output):
    pid: int
    uid: int
    path: str


class ResourceOut(Output):
    name: str
    sent_version: str
    acked_version: str
    nacked_version: str
    nack_detail: str
    sent_at: TimeOut | None
    acked_at: TimeOut | None
    sent_serial: str
    acked_serial: str
    sent_sequence: int
    acked_sequence: int
    lag_seconds: float


class StreamOut(Output):
    id: str
    agent_id: str
    protocol: str
    process: ProcessOut
    spiffe_ids: list[str]
    node_id: str
    opened_at: TimeOut
    nacked: bool
    behind: bool
    lag_seconds: float
    resources: list[ResourceOut]


class StreamPage(Output):
    streams: list[StreamOut]
    next_cursor: str | None


class KekOut(Output):
    """`dry_run`: nothing was done; there is no `new_id`, and so many keys would be wrapped anew."""

    old_id: str
    new_id: str
    rewrapped: int
    shared: bool
    dry_run: bool


class ActorOut(Output):
    kind: str
    id: str
    address: str


class TargetOut(Output):
    kind: str
    id: str


UNREADABLE = "audit.unreadable"


class AuditOut(Output):
    """`unreadable`: somebody has altered what is stored, and it is no event any more. Nothing of it is shown then:
    `action` is `audit.unreadable`, `outcome` is `failure`, `reason` says why, `time` is 1970, and all else is empty.
    """

    sequence: int
    id: str
    time: TimeOut
    action: str
    outcome: str
    actor: ActorOut
    target: TargetOut
    reason: str
    request_id: str
    node: str
    details: dict[str, Any]
    unreadable: bool


class AuditPage(Output):
    """`last_sequence`: what to ask `after` next."""

    events: list[AuditOut]
    last_sequence: int


def token_out(issued: IssuedToken) -> TokenOut:
    return TokenOut(token=issued.token.reveal(), spiffe_id=str(issued.spiffe_id), expires_at=issued.expires_at)


def agent_out(agent: AgentInfo) -> AgentOut:
    return AgentOut(**_agent(agent))


def agent_gone_out(agent: AgentInfo, radius: BlastRadius | None = None) -> AgentGoneOut:
    """With `radius` for a dry run."""
    told = None if radius is None else radius_out(radius)
    return AgentGoneOut(**_agent(agent), dry_run=radius is not None, blast_radius=told)


def _agent(agent: AgentInfo) -> dict[str, Any]:
    return {
        "spiffe_id": str(agent.spiffe_id),
        "attestation_type": agent.attestation_type,
        "selectors": sorted(map(str, agent.selectors)),
        "serial": agent.serial,
        "not_after": agent.not_after,
        "attested_at": agent.attested_at,
        "renewed_at": agent.renewed_at,
        "last_seen": agent.last_seen,
        "banned": agent.banned_at is not None,
        "banned_at": agent.banned_at,
        "banned_reason": agent.banned_reason,
        "address": agent.address,
        "version": agent.version,
        "downstream": agent.downstream,
        "bundle_sequence": agent.bundle_sequence,
        "connected": agent.connected,
        "entries": agent.entries,
        "streams": agent.streams,
    }


def stream_out(stream: StreamInfo) -> StreamOut:
    process = stream.process
    return StreamOut(
        id=stream.id,
        agent_id=str(stream.agent_id),
        protocol=stream.protocol,
        process=ProcessOut(pid=process.pid, uid=process.uid, path=process.path),
        spiffe_ids=list(stream.spiffe_ids),
        node_id=stream.node_id,
        opened_at=stream.opened_at,
        nacked=stream.nacked,
        behind=stream.behind,
        lag_seconds=stream.lag.total_seconds(),
        resources=[_resource_out(each, stream.lag_of(each)) for each in stream.resources],
    )


def _resource_out(resource: ResourceRecord, lag: timedelta | None) -> ResourceOut:
    return ResourceOut(
        name=resource.name,
        sent_version=resource.sent_version,
        acked_version=resource.acked_version,
        nacked_version=resource.nacked_version,
        nack_detail=resource.nack_detail,
        sent_at=resource.sent_at,
        acked_at=resource.acked_at,
        sent_serial=resource.sent_serial,
        acked_serial=resource.acked_serial,
        sent_sequence=resource.sent_sequence,
        acked_sequence=resource.acked_sequence,
        lag_seconds=0.0 if lag is None else lag.total_seconds(),
    )


def kek_out(rotation: KekRotation, *, dry_run: bool) -> KekOut:
    return KekOut(
        old_id=rotation.old_id,
        new_id=rotation.new_id,
        rewrapped=rotation.rewrapped,
        shared=rotation.shared,
        dry_run=dry_run,
    )


def audit_out(row: AuditRow | UnreadableRow) -> AuditOut:
    if isinstance(row, UnreadableRow):
        return _unreadable_out(row)
    event = row.event
    return AuditOut(
        sequence=row.sequence,
        id=event.id,
        time=event.time,
        action=event.action,
        outcome=event.outcome.value,
        actor=ActorOut(kind=event.actor.kind.value, id=event.actor.id, address=event.actor.address),
        target=TargetOut(kind=event.target.kind, id=event.target.id),
        reason=event.reason,
        request_id=event.request_id,
        node=event.node,
        details=dict(event.details),
        unreadable=False,
    )


def _unreadable_out(row: UnreadableRow) -> AuditOut:
    return AuditOut(
        sequence=row.sequence,
        id="",
        time=datetime(1970, 1, 1, tzinfo=UTC),
        action=UNREADABLE,
        outcome="failure",
        actor=ActorOut(kind="", id="", address=""),
        target=TargetOut(kind="", id=""),
        reason=row.why,
        request_id="",
        node="",
        details={},
        unreadable=True,
    )
