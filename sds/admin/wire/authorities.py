"""Authorities and their gates as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ca.authority import Authority
from ca.bundle import to_pem
from ca.gate import Gate, Straggler
from ca.key_manager import manager_of
from ca.rotation import Activate, Drop, Step
from sds.admin.services import AuthorityInfo, AuthorityOverview
from sds.admin.services.revocations import BlastRadius
from sds.admin.wire.common import Input, Output, TimeOut
from sds.admin.wire.revocations import BlastRadiusOut, radius_out

Kind = Literal["x509", "jwt"]
MAX_STRAGGLERS = 100
"""Named in one answer; their number is always whole."""


class PrepareIn(Input):
    kind: Kind = "x509"


class ActivateIn(Input):
    force: bool = False
    cross_sign: bool = False


class RevokeIn(Input):
    force: bool = False


class StragglerOut(Output):
    """`why`: not connected, not acknowledged, rejected, or just sent. An agent itself has no `stream_id`."""

    agent_id: str
    stream_id: str
    pid: int
    path: str
    spiffe_ids: list[str]
    why: str
    detail: str
    sequence: int
    last_seen: TimeOut | None


class GateOut(Output):
    """`sequence`: the bundle that all need. `stragglers` are at most 100 of `stragglers_total`."""

    open: bool
    sequence: int
    total: int
    acked: int
    waits_until: TimeOut | None
    reasons: list[str]
    stragglers: list[StragglerOut]
    stragglers_total: int


class TimesOut(Output):
    """When the successor of an active authority is made, may sign, and signs whoever is late."""

    prepare: TimeOut
    activate: TimeOut
    deadline: TimeOut


class AuthorityOut(Output):
    id: str
    kind: str
    state: str
    tainted: bool
    revoked: bool
    key_type: str
    key_manager: str
    upstream: str
    cross_signed: bool
    published_sequence: int
    not_before: TimeOut
    not_after: TimeOut
    created_at: TimeOut
    activated_at: TimeOut | None
    retired_at: TimeOut | None
    kept_until: TimeOut | None
    successor_due: TimesOut | None
    gate: GateOut | None
    certificate: str


class AuthorityGoneOut(AuthorityOut):
    """`dry_run`: nothing was done, and `blast_radius` says what was issued and who holds that."""

    dry_run: bool = False
    blast_radius: BlastRadiusOut | None = None


class DueOut(Output):
    """`step`: prepare, activate, drop, or blocked, which means that somebody has to look."""

    step: str
    kind: str
    authority_id: str
    reason: str


class AuthorityPage(Output):
    authorities: list[AuthorityOut]
    due: list[DueOut]


def overview_out(overview: AuthorityOverview) -> AuthorityPage:
    return AuthorityPage(
        authorities=[authority_out(each) for each in overview.authorities],
        due=[_due_out(each) for each in overview.due],
    )


def authority_out(info: AuthorityInfo) -> AuthorityOut:
    return AuthorityOut(**_common(info))


def gone_out(info: AuthorityInfo, radius: BlastRadius | None = None) -> AuthorityGoneOut:
    """With `radius` for a dry run."""
    told = None if radius is None else radius_out(radius)
    return AuthorityGoneOut(**_common(info), dry_run=radius is not None, blast_radius=told)


def _common(info: AuthorityInfo) -> dict[str, Any]:
    one, times = info.authority, info.times
    due = None if times is None else TimesOut(prepare=times.prepare, activate=times.activate, deadline=times.deadline)
    return {
        "id": one.id,
        "kind": one.kind.value,
        "state": one.state.value,
        "tainted": one.tainted,
        "revoked": one.revoked,
        "key_type": one.key_type.value,
        "key_manager": manager_of(one.key_ref),
        "upstream": one.upstream,
        "cross_signed": _cross_signed(one),
        "published_sequence": one.published_sequence,
        "not_before": one.not_before,
        "not_after": one.not_after,
        "created_at": one.created_at,
        "activated_at": one.activated_at,
        "retired_at": one.retired_at,
        "kept_until": info.kept_until,
        "successor_due": due,
        "gate": None if info.gate is None else gate_out(info.gate),
        "certificate": to_pem(one.certificate).decode() if one.certificate else "",
    }


def gate_out(gate: Gate) -> GateOut:
    return GateOut(
        open=gate.open,
        sequence=gate.sequence,
        total=gate.total,
        acked=gate.acked,
        waits_until=gate.waits_until,
        reasons=list(gate.reasons),
        stragglers=_stragglers_out(gate.stragglers[:MAX_STRAGGLERS]),
        stragglers_total=len(gate.stragglers),
    )


def _stragglers_out(stragglers: Sequence[Straggler]) -> list[StragglerOut]:
    return [
        StragglerOut(
            agent_id=str(one.agent_id),
            stream_id=one.stream_id,
            pid=one.pid,
            path=one.path,
            spiffe_ids=list(one.spiffe_ids),
            why=one.lag.value,
            detail=one.detail,
            sequence=one.sequence,
            last_seen=one.last_seen,
        )
        for one in stragglers
    ]


def _due_out(step: Step) -> DueOut:
    authority_id = step.authority_id if isinstance(step, Activate | Drop) else ""
    return DueOut(step=type(step).__name__.lower(), kind=step.kind.value, authority_id=authority_id, reason=step.reason)


def _cross_signed(one: Authority) -> bool:
    """Its leaves come with a certificate although it is its own root."""
    return bool(one.chain) and not one.roots
