"""The audit events of tokens. They name a token by its `jti` and never hold it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ca.jwt_svid import JwtIntent
from sds.audit.event import Actor, AuditEvent, Json, Outcome, Target
from sds.server.events import Events, process_details, rfc3339
from sds.store.records import ProcessRecord

ACTION = "token.issue"


def token_issue(
    events: Events,
    time: datetime,
    intent: JwtIntent,
    actor: Actor,
    request_id: str,
    *,
    entry: tuple[str, int] | None = None,
    process: ProcessRecord | None = None,
    more: Mapping[str, Json] | None = None,
) -> AuditEvent:
    """``token.issue``: durable before the key signs. `entry` is its id and revision."""
    details: dict[str, Json] = {
        "spiffe_id": str(intent.spiffe_id),
        "audience": intent.audience,
        "issued_at": rfc3339(intent.issued_at),
        "expires_at": rfc3339(intent.expires_at),
        "authority_id": intent.authority_id,
        "algorithm": str(intent.algorithm),
        **(more or {}),
    }
    if entry is not None:
        details["entry_id"], details["entry_revision"] = entry
    if process is not None:
        details["process"] = process_details(process)
    target = Target("jwt_svid", intent.token_id)
    return events.make(time, ACTION, actor, target, request_id=request_id, details=details)


def token_unsigned(
    events: Events, time: datetime, intent: JwtIntent, actor: Actor, request_id: str, *, reason: str
) -> AuditEvent:
    """``token.issue`` that failed: it was meant, and nothing was signed for it."""
    return events.make(
        time,
        ACTION,
        actor,
        Target("jwt_svid", intent.token_id),
        outcome=Outcome.FAILURE,
        reason=reason,
        request_id=request_id,
        details={"spiffe_id": str(intent.spiffe_id)},
    )
