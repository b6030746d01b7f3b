"""The audit log's tree as JSON. Hashes are base64, as in checkpoints."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from sds.admin.services.ledger import (
    CheckpointInfo,
    ConsistencyProof,
    EventDetail,
    InclusionProof,
    KeyInfo,
    PruneReport,
)
from sds.admin.wire import views
from sds.admin.wire.common import Input, Output, TimeField, TimeOut
from sds.audit.note import MAX_NOTE_BYTES
from sds.audit.verify import Verdict

MAX_REMEMBERED = 16


class AuditVerifyIn(Input):
    """`checkpoints`: signed notes that the caller has seen earlier."""

    checkpoints: Annotated[
        list[Annotated[str, Field(max_length=MAX_NOTE_BYTES)]],
        Field(default_factory=list, max_length=MAX_REMEMBERED),
    ]


class AuditPruneIn(Input):
    before: TimeField
    dry_run: bool = True


class EventDetailOut(views.AuditOut):
    canonical: str
    leaf: int | None
    leaf_hash: str


class CheckpointOut(Output):
    size: int
    root: str
    note: str
    signed_at: TimeOut


class CheckpointPage(Output):
    """Newest first; `next_before` is what to ask `before` next, null at the end."""

    checkpoints: list[CheckpointOut]
    next_before: int | None


class InclusionOut(Output):
    leaf: int
    size: int
    path: list[str]
    checkpoint: str


class ConsistencyOut(Output):
    first: int
    second: int
    path: list[str]


class AuditKeyOut(Output):
    """`verifier`: the key as verifiers are configured with. `endorsement`: the key before it vouches for it."""

    number: int
    verifier: str
    endorsement: str
    created_at: TimeOut
    current: bool


class AuditKeyList(Output):
    keys: list[AuditKeyOut]


class AuditProblemOut(Output):
    kind: str
    leaf: int | None
    sequence: int | None
    what: str


class AuditVerdictOut(Output):
    """`more`: problems beyond those that are named."""

    ok: bool
    origin: str
    size: int
    events: int
    root: str
    problems: list[AuditProblemOut]
    more: int


class AuditPruneOut(Output):
    before: TimeOut
    size: int
    events: int
    held_by: str
    statement: str
    dry_run: bool


def event_detail_out(detail: EventDetail) -> EventDetailOut:
    plain: dict[str, Any] = views.audit_out(detail.row).model_dump()
    return EventDetailOut(**plain, canonical=detail.canonical, leaf=detail.leaf, leaf_hash=_text(detail.leaf_hash))


def checkpoint_out(info: CheckpointInfo) -> CheckpointOut:
    return CheckpointOut(size=info.size, root=_text(info.root), note=info.note, signed_at=info.signed_at)


def inclusion_out(proof: InclusionProof) -> InclusionOut:
    return InclusionOut(leaf=proof.leaf, size=proof.size, path=_texts(proof.path), checkpoint=proof.note)


def consistency_out(proof: ConsistencyProof) -> ConsistencyOut:
    return ConsistencyOut(first=proof.first, second=proof.second, path=_texts(proof.path))


def key_out(info: KeyInfo, *, current: bool) -> AuditKeyOut:
    return AuditKeyOut(
        number=info.number,
        verifier=info.verifier,
        endorsement=info.endorsement,
        created_at=info.created_at,
        current=current,
    )


def verdict_out(verdict: Verdict) -> AuditVerdictOut:
    checkpoint = verdict.checkpoint
    return AuditVerdictOut(
        ok=verdict.ok,
        origin="" if checkpoint is None else checkpoint.origin,
        size=verdict.size,
        events=verdict.events,
        root="" if checkpoint is None else _text(checkpoint.root),
        problems=[
            AuditProblemOut(kind=one.kind.value, leaf=one.leaf, sequence=one.sequence, what=one.what)
            for one in verdict.findings.problems
        ],
        more=verdict.findings.more,
    )


def prune_out(report: PruneReport) -> AuditPruneOut:
    return AuditPruneOut(
        before=report.before,
        size=report.size,
        events=report.events,
        held_by=report.held_by,
        statement=report.statement,
        dry_run=report.dry_run,
    )


def _text(hashed: bytes) -> str:
    return base64.b64encode(hashed).decode()


def _texts(path: Iterable[bytes]) -> list[str]:
    return list(map(_text, path))
