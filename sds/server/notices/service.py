"""Notices for administrators: what stands, and a test message."""

from __future__ import annotations

from sds.admin.access.roles import Role
from sds.admin.errors import FieldProblem, Forbidden, InvalidInput, TooManyRequests
from sds.admin.services import AdminCall, Page
from sds.admin.services.notices import NoticeQuery, TestedNotice
from sds.audit.event import Outcome, Target
from sds.clock import Clock
from sds.net.limits import Rate, TokenBuckets
from sds.notices.notice import WEBHOOK, Notice
from sds.notices.recipients import is_address
from sds.server.notices.engine import NoticeEngine
from sds.server.notices.outgoing import SendFailed
from sds.server.services.common import Desk
from sds.store.notices.notices import NoticeFilter

TESTS = Rate(per_second=0.1, burst=3)
"""Test messages of all callers together: each makes another machine send something."""


class NoticeService:
    """Implements sds.admin.services.notices.NoticeAdmin."""

    def __init__(self, desk: Desk, engine: NoticeEngine, clock: Clock) -> None:
        self._desk = desk
        self._engine = engine
        self._clock = clock
        self._rate = TokenBuckets(TESTS, max_keys=1)

    async def find(self, query: NoticeQuery) -> Page[Notice]:
        filters = NoticeFilter(
            kind=query.kind,
            subject=query.subject,
            recipient=query.recipient,
            owner=query.owner,
            over=query.over,
            urgent=query.urgent,
            failing=query.failing,
        )
        found = await self._desk.store.read(
            lambda uow: uow.notices.page(filters, cursor=query.cursor, limit=query.limit)
        )
        return Page(found.items, found.next_cursor)

    async def test(self, call: AdminCall, recipient: str) -> TestedNotice:
        """1. It is an address, or the webhook. 2. One that the configuration does not name is for administrators whose
        role is not limited: it makes the server write to somebody new. 3. There are not too many.
        """
        if recipient != WEBHOOK and not is_address(recipient):  # 1
            raise InvalidInput([FieldProblem("recipient", "is neither a plain e-mail address nor webhook")])
        whole_admin = any(right.role is Role.ADMIN and right.scope.everything for right in call.rights)
        if not self._engine.recipients.names(recipient) and not whole_admin:  # 2
            raise Forbidden("the configuration names no such recipient; to write to another takes the role admin")
        if not self._rate.take("", self._clock.monotonic()):  # 3
            raise TooManyRequests("too many test messages; try again", retry_after=1 / TESTS.per_second)
        problem = ""
        try:
            await self._engine.test(recipient)
        except SendFailed as error:
            problem = str(error)
        await self._record(call, recipient, problem)
        return TestedNotice(recipient, problem)

    async def _record(self, call: AdminCall, recipient: str, problem: str) -> None:
        event = self._desk.event(
            self._clock.now(),
            call,
            "notice.fail" if problem else "notice.send",
            Target("notice", recipient),
            {"mode": "test"},
            outcome=Outcome.FAILURE if problem else Outcome.SUCCESS,
            reason=problem,
        )
        await self._desk.store.write(lambda uow: uow.audit.append(event))
