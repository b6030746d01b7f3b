"""Notices as JSON."""

from __future__ import annotations

from sds.admin.services.notices import TestedNotice
from sds.admin.wire.common import Input, Output, TextField, TimeOut
from sds.notices.notice import Notice


class NoticeOut(Output):
    """`told_stage`: the stage of which its recipient knows, -1 if of none. `problem`: why it was not sent so far."""

    id: str
    kind: str
    subject: str
    recipient: str
    owner: str
    text: str
    stage: int
    told_stage: int
    urgent: bool
    due_at: TimeOut | None
    first_seen_at: TimeOut
    sent_at: TimeOut | None
    ended_at: TimeOut | None
    attempts: int
    retry_at: TimeOut | None
    problem: str


class NoticePage(Output):
    notices: list[NoticeOut]
    next_cursor: str | None


class NoticeTestIn(Input):
    """`recipient`: an e-mail address, or `webhook`."""

    recipient: TextField


class NoticeTestOut(Output):
    """`sent`: who delivers it has taken it over; else `problem` says why not."""

    recipient: str
    sent: bool
    problem: str


def notice_out(notice: Notice) -> NoticeOut:
    return NoticeOut(
        id=notice.id,
        kind=notice.kind.value,
        subject=notice.subject,
        recipient=notice.recipient,
        owner=notice.owner,
        text=notice.text,
        stage=notice.stage,
        told_stage=notice.told,
        urgent=notice.urgent,
        due_at=notice.due_at,
        first_seen_at=notice.first_seen_at,
        sent_at=notice.sent_at,
        ended_at=notice.ended_at,
        attempts=notice.attempts,
        retry_at=notice.retry_at,
        problem=notice.problem,
    )


def tested_out(tested: TestedNotice) -> NoticeTestOut:
    return NoticeTestOut(recipient=tested.recipient, sent=not tested.problem, problem=tested.problem)
