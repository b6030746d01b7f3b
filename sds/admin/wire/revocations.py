"""Revocations, blocks and blast radii as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ca.revocation import Reason
from sds.admin.services.revocations import (
    BlastRadius,
    Lifted,
    LostCertificate,
    OutOfReach,
    Revocation,
    RevocationOrder,
    Unreached,
)
from sds.admin.wire.common import Input, Output, TextField, TimeOut
from sds.store.records import StreamRecord
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord

MAX_VALUE = 2048


def _kind(value: object) -> BlockKind:
    if not isinstance(value, str) or value not in set(BlockKind):
        raise PydanticCustomError("value", "must be one of " + ", ".join(BlockKind))
    return BlockKind(value)


def _reason(value: object) -> Reason:
    if not isinstance(value, str) or value not in set(Reason):
        raise PydanticCustomError("value", "must be one of " + ", ".join(Reason))
    return Reason(value)


KindField = Annotated[BlockKind, PlainValidator(_kind), WithJsonSchema({"type": "string", "enum": list(BlockKind)})]
ReasonField = Annotated[Reason, PlainValidator(_reason), WithJsonSchema({"type": "string", "enum": list(Reason)})]
Value = Annotated[str, Field(min_length=1, max_length=MAX_VALUE)]


class RevocationIn(Input):
    """A dry run unless `dry_run` is false."""

    kind: KindField
    value: Value
    reason: ReasonField = Reason.UNSPECIFIED
    incident: TextField = ""
    issuer: Annotated[str, Field(max_length=128)] = ""
    dry_run: bool = True


class LostCertificateOut(Output):
    serial: str
    spiffe_id: str
    profile: str
    authority_id: str
    not_after: TimeOut
    agent_id: str | None
    revoked: bool


class LiveStreamOut(Output):
    agent_id: str
    id: str
    protocol: str
    pid: int
    path: str
    node_id: str
    spiffe_ids: list[str]


class UnreachedOut(Output):
    stream: LiveStreamOut
    why: OutOfReach


class BlastRadiusOut(Output):
    """Lists have at most 100 items; the totals count all."""

    certificates_total: int
    fresh: int
    certificates: list[LostCertificateOut]
    identities_total: int
    identities: list[str]
    entries_total: int
    entries: list[str]
    agents_total: int
    agents: list[str]
    owners: list[str]
    streams_total: int
    streams: list[LiveStreamOut]
    unreached_total: int
    unreached: list[UnreachedOut]
    last_expiry: TimeOut | None
    notes: list[str]


class BlockOut(Output):
    id: str
    kind: BlockKind
    value: str
    reason: Reason
    incident: str
    created_at: TimeOut
    created_by: str
    lifted_at: TimeOut | None
    lifted_by: str


class RevocationOut(Output):
    """`block` is null after a dry run. `problem`: why the CRLs do not say it yet, "" if they do."""

    dry_run: bool
    kind: BlockKind
    value: str
    reason: Reason
    incident: str
    blast_radius: BlastRadiusOut
    block: BlockOut | None
    problem: str


class LiftedOut(Output):
    block: BlockOut
    released: bool
    problem: str


class BlockPage(Output):
    blocks: list[BlockOut]
    next_cursor: str | None


class RevokedOut(Output):
    serial: str
    authority_id: str
    not_after: TimeOut
    reason: Reason
    revoked_at: TimeOut
    block_id: str


class RevokedPage(Output):
    revocations: list[RevokedOut]
    next_cursor: str | None


def order_of(given: RevocationIn) -> RevocationOrder:
    return RevocationOrder(given.kind, given.value, given.reason, given.incident, given.issuer, given.dry_run)


def revocation_out(done: Revocation) -> RevocationOut:
    order = done.order
    return RevocationOut(
        dry_run=done.block is None,
        kind=order.kind,
        value=order.value,
        reason=order.reason,
        incident=order.incident,
        blast_radius=radius_out(done.radius),
        block=None if done.block is None else block_out(done.block),
        problem=done.problem,
    )


def lifted_out(lifted: Lifted) -> LiftedOut:
    return LiftedOut(block=block_out(lifted.block), released=lifted.released, problem=lifted.problem)


def block_out(block: BlockRecord) -> BlockOut:
    return BlockOut(
        id=block.id,
        kind=block.kind,
        value=block.value,
        reason=block.reason,
        incident=block.incident,
        created_at=block.created_at,
        created_by=block.created_by,
        lifted_at=block.lifted_at,
        lifted_by=block.lifted_by,
    )


def revoked_out(record: RevocationRecord) -> RevokedOut:
    return RevokedOut(
        serial=record.serial,
        authority_id=record.authority_id,
        not_after=record.not_after,
        reason=record.reason,
        revoked_at=record.revoked_at,
        block_id=record.block_id,
    )


def radius_out(radius: BlastRadius) -> BlastRadiusOut:
    return BlastRadiusOut(
        certificates_total=radius.certificates,
        fresh=radius.fresh,
        certificates=[_certificate_out(one) for one in radius.listed],
        identities_total=radius.identities_total,
        identities=list(radius.identities),
        entries_total=radius.entries_total,
        entries=list(radius.entries),
        agents_total=radius.agents_total,
        agents=list(radius.agents),
        owners=list(radius.owners),
        streams_total=radius.streams_total,
        streams=[_stream_out(one) for one in radius.streams],
        unreached_total=radius.unreached_total,
        unreached=[_unreached_out(one) for one in radius.unreached],
        last_expiry=radius.last_expiry,
        notes=list(radius.notes),
    )


def _certificate_out(one: LostCertificate) -> LostCertificateOut:
    return LostCertificateOut(
        serial=one.serial,
        spiffe_id=str(one.spiffe_id),
        profile=one.profile,
        authority_id=one.authority_id,
        not_after=one.not_after,
        agent_id=None if one.agent_id is None else str(one.agent_id),
        revoked=one.revoked,
    )


def _stream_out(stream: StreamRecord) -> LiveStreamOut:
    return LiveStreamOut(
        agent_id=str(stream.agent_id),
        id=stream.stream_id,
        protocol=stream.protocol,
        pid=stream.process.pid,
        path=stream.process.path,
        node_id=stream.node_id,
        spiffe_ids=list(stream.spiffe_ids),
    )


def _unreached_out(one: Unreached) -> UnreachedOut:
    return UnreachedOut(stream=_stream_out(one.stream), why=one.why)
