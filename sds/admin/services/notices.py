"""What people are told of, and a test of whether it reaches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sds.admin.services.common import AdminCall, Page
from sds.notices.notice import Kind, Notice


@dataclass(frozen=True, slots=True)
class NoticeQuery:
    """Newest first. `over`: whether what it tells of is over; `failing`: whether it could not be sent so far."""

    kind: Kind | None = None
    subject: str | None = None
    recipient: str | None = None
    owner: str | None = None
    over: bool | None = None
    urgent: bool | None = None
    failing: bool | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class TestedNotice:
    """`problem` "": the message was taken over by who delivers it."""

    recipient: str
    problem: str = ""


class NoticeAdmin(Protocol):
    async def find(self, query: NoticeQuery) -> Page[Notice]: ...

    async def test(self, call: AdminCall, recipient: str) -> TestedNotice:
        """Sends a test message. Raises Forbidden for who may not write there, InvalidInput, TooManyRequests."""
        ...
