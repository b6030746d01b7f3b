"""Approvals as JSON."""

from __future__ import annotations

import json
from typing import Any

from sds.admin.services.approvals import ApprovalInfo
from sds.admin.wire.common import Input, Output, TextField, TimeOut


class RejectIn(Input):
    reason: TextField = ""


class ApprovalOut(Output):
    """`request`: all of what was asked for, as it would be done. `digest`: SHA-256 of its canonical form."""

    id: str
    operation: str
    target: str
    request: dict[str, Any]
    digest: str
    requested_by: str
    requested_at: TimeOut
    expires_at: TimeOut
    state: str
    decided_by: str
    decided_at: TimeOut | None
    reason: str


class ApprovalPage(Output):
    approvals: list[ApprovalOut]
    next_cursor: str | None


class PerformedOut(Output):
    """What was approved has been done: `status` and `result` are what the requester would have been answered."""

    approval: ApprovalOut
    status: int
    result: Any


def approval_out(info: ApprovalInfo) -> ApprovalOut:
    return ApprovalOut(
        id=info.id,
        operation=info.operation,
        target=info.target,
        request=json.loads(info.request),
        digest=info.digest,
        requested_by=info.requested_by,
        requested_at=info.requested_at,
        expires_at=info.expires_at,
        state=info.state.value,
        decided_by=info.decided_by,
        decided_at=info.decided_at,
        reason=info.reason,
    )
