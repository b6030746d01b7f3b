"""Four eyes: what was asked for waits, is decided by somebody else, and is done once, exactly as it was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sds.admin.access.decide import permitted, unlimited
from sds.admin.access.people import same_person
from sds.admin.errors import Forbidden, TooManyRequests
from sds.admin.services import AdminCall, Caller, CallerKind, Page
from sds.admin.services.approvals import ApprovalInfo, ApprovalQuery, ApprovalState, Approved
from sds.audit.event import Actor, ActorKind, Json, Outcome, Target
from sds.server.access.rights import Rights
from sds.server.events import Events, rfc3339
from sds.server.services.common import Desk
from sds.server.transactions import Transactions
from sds.store.access.records import ApprovalRecord
from sds.store.access.records import ApprovalState as Stored
from sds.store.errors import Conflict
from sds.store.unit_of_work import UnitOfWork

MOST = 1000
"""Requests that wait at once."""
_MAX_TARGET = 2048


class ApprovalService:
    """Implements sds.admin.services.approvals.ApprovalAdmin."""

    def __init__(self, desk: Desk, rights: Rights, lifetime: timedelta, new_id: Callable[[], str]) -> None:
        self._desk = desk
        self._rights = rights
        self._lifetime = lifetime
        self._new_id = new_id

    async def ask(self, call: AdminCall, operation: str, target: str, request: bytes) -> ApprovalInfo:
        digest = hashlib.sha256(request).hexdigest()
        approval_id = self._new_id()

        def work(uow: UnitOfWork) -> ApprovalInfo:
            waiting = uow.approvals.waiting(digest, call.caller.id)
            if waiting is not None:
                return _info(waiting, uow.now)
            if uow.approvals.pending() >= MOST:
                raise TooManyRequests("too many requests wait for approval already", 60.0)
            expires = uow.now + self._lifetime
            about = target[:_MAX_TARGET]
            record = ApprovalRecord(approval_id, operation, about, request, digest, call.caller.id, uow.now, expires)
            uow.approvals.create(record)
            self._note(uow, call, "approval.request", record, {"expires_at": rfc3339(expires)})
            return _info(record, uow.now)

        return await self._desk.store.write(work)

    async def page(self, query: ApprovalQuery) -> Page[ApprovalInfo]:
        state = None if query.state is None else Stored(query.state.value)

        def look(uow: UnitOfWork) -> Page[ApprovalInfo]:
            page = uow.approvals.page(state=state, cursor=query.cursor, limit=query.limit)
            return Page(tuple(_info(each, uow.now) for each in page.items), page.next_cursor)

        return await self._desk.store.read(look)

    async def get(self, approval_id: str) -> ApprovalInfo:
        return await self._desk.store.read(lambda uow: _info(uow.approvals.get(approval_id), uow.now))

    async def approve(self, call: AdminCall, approval_id: str) -> Approved:
        """1. It waits, and not for too long.

        2. Who approves is not who asked, as far as that can be known, and might do it themselves without any limits.
        3. Who asked still has rights; whether they suffice, the operation's own rule decides once more.
        """

        def work(uow: UnitOfWork) -> Approved:
            record = _pending(uow, approval_id)  # 1
            kind, caller, subjects = _requester(record.request)
            if same_person(call.subjects, (caller.id, *subjects)):  # 2
                raise Forbidden("somebody else has to approve this: it was you who asked for it")
            if not unlimited(permitted(call, record.action)):
                raise Forbidden("only who may do this everywhere can approve it")
            rights = self._rights.standing(uow, kind, caller.id, subjects)
            decided = uow.approvals.decide(approval_id, Stored.PENDING, Stored.APPROVED, by=call.caller.id)
            self._note(uow, call, "approval.approve", decided, {})
            asked_by = replace(caller, address=f"approval:{record.id}")
            requester = AdminCall(asked_by, call.request_id, rights, subjects=subjects)  # 3
            return Approved(_info(decided, uow.now), requester)

        return await self._desk.store.write(work)

    async def reject(self, call: AdminCall, approval_id: str, reason: str) -> ApprovalInfo:
        def work(uow: UnitOfWork) -> ApprovalInfo:
            _pending(uow, approval_id)
            decided = uow.approvals.decide(
                approval_id, Stored.PENDING, Stored.REJECTED, by=call.caller.id, reason=reason
            )
            self._note(uow, call, "approval.reject", decided, {"why": reason})
            return _info(decided, uow.now)

        return await self._desk.store.write(work)

    async def finish(self, call: AdminCall, approval_id: str, *, status: int) -> ApprovalInfo:
        well = 200 <= status < 300

        def work(uow: UnitOfWork) -> ApprovalInfo:
            after = Stored.PERFORMED if well else Stored.FAILED
            reason = "" if well else f"answered {status}"
            record = uow.approvals.decide(approval_id, Stored.APPROVED, after, reason=reason)
            outcome = Outcome.SUCCESS if well else Outcome.FAILURE
            self._note(uow, call, "approval.perform", record, {"status": status}, outcome)
            return _info(record, uow.now)

        return await self._desk.store.write(work)

    def _note(
        self,
        uow: UnitOfWork,
        call: AdminCall,
        action: str,
        record: ApprovalRecord,
        details: dict[str, Json],
        outcome: Outcome = Outcome.SUCCESS,
    ) -> None:
        target = Target("approval", record.id)
        uow.audit.append(
            self._desk.event(uow.now, call, action, target, {**_facts(record), **details}, outcome=outcome)
        )


async def expire(store: Transactions, events: Events) -> None:
    """Ends what nobody has decided in time. Whether it is approved never depends on this having run."""

    def work(uow: UnitOfWork) -> None:
        for each in uow.approvals.overdue():
            record = uow.approvals.decide(each.id, Stored.PENDING, Stored.EXPIRED)
            actor, target = Actor(ActorKind.SYSTEM, "approvals"), Target("approval", each.id)
            uow.audit.append(events.make(uow.now, "approval.expire", actor, target, details=_facts(record)))

    if await store.read(lambda uow: bool(uow.approvals.overdue(1))):
        await store.write(work)


def _facts(record: ApprovalRecord) -> dict[str, Json]:
    return {
        "operation": record.action,
        "of": record.target,
        "digest": record.digest,
        "requested_by": record.requested_by,
    }


def _pending(uow: UnitOfWork, approval_id: str) -> ApprovalRecord:
    """Raises NotFound, Conflict."""
    record = uow.approvals.get(approval_id)
    state = _state(record, uow.now)
    if state is not ApprovalState.PENDING:
        raise Conflict(f"approval {approval_id}", state.value)
    return record


def _state(record: ApprovalRecord, now: datetime) -> ApprovalState:
    late = record.state is Stored.PENDING and now >= record.expires_at
    return ApprovalState.EXPIRED if late else ApprovalState(record.state.value)


def _requester(request: bytes) -> tuple[CallerKind, Caller, tuple[str, ...]]:
    """Who asked, as they were then; the text is our own (sds.admin.four_eyes)."""
    who = json.loads(request)["caller"]
    caller = Caller(CallerKind(who["kind"]), who["id"], who["name"])
    return caller.kind, caller, tuple(who["subjects"])


def _info(record: ApprovalRecord, now: datetime) -> ApprovalInfo:
    return ApprovalInfo(
        record.id,
        record.action,
        record.target,
        record.request,
        record.digest,
        record.requested_by,
        record.requested_at,
        record.expires_at,
        _state(record, now),
        record.decided_by,
        record.decided_at,
        record.reason,
    )
