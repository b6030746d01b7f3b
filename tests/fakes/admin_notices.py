"""Notices in memory."""

from __future__ import annotations

from sds.admin.services import AdminCall, NoticeQuery, Page, TestedNotice
from sds.notices.notice import Kind, Notice
from tests.fakes.clock import EPOCH


def notice(number: int, kind: Kind = Kind.CERTIFICATE, **more: object) -> Notice:
    """One that stands, of which nobody was told."""
    made = Notice(
        f"notice-{number}", kind, f"subject-{number}", "ops@example.org", "text", "", 0, False, EPOCH, EPOCH, EPOCH
    )
    for name, value in more.items():
        object.__setattr__(made, name, value)
    return made


class FakeNotices:
    """Knows the recipient ops@example.org alone."""

    def __init__(self) -> None:
        self.notices: list[Notice] = [notice(1), notice(2, Kind.AUTHORITY)]

    async def find(self, query: NoticeQuery) -> Page[Notice]:
        chosen = [one for one in self.notices if query.kind in (None, one.kind)]
        return Page(tuple(chosen[: query.limit]))

    async def test(self, call: AdminCall, recipient: str) -> TestedNotice:
        return TestedNotice(recipient, "" if recipient == "ops@example.org" else "the recipient is refused: 550 no")
