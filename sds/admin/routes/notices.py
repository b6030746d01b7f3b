"""/v1/notices: what people are told of, and a test message."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request

from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, NoQuery, Paging
from sds.admin.services.notices import NoticeAdmin, NoticeQuery
from sds.admin.wire import notices as wire
from sds.admin.wire.common import read
from sds.notices.notice import Kind

_Choice = Literal["true", "false"]


class Filter(Paging):
    kind: Kind | None = None
    subject: Annotated[str | None, Query(max_length=4096)] = None
    recipient: Annotated[str | None, Query(max_length=254)] = None
    owner: Annotated[str | None, Query(max_length=255)] = None
    over: _Choice | None = None
    urgent: _Choice | None = None
    failing: _Choice | None = None

    def query(self) -> NoticeQuery:
        return NoticeQuery(
            kind=self.kind,
            subject=self.subject,
            recipient=self.recipient,
            owner=self.owner,
            over=_chosen(self.over),
            urgent=_chosen(self.urgent),
            failing=_chosen(self.failing),
            limit=self.limit,
            cursor=self.cursor,
        )


class NoticeRoutes:
    def __init__(self, notices: NoticeAdmin) -> None:
        self._notices = notices

    def mount(self, app: FastAPI) -> None:
        test = common.documented(wire.NoticeTestIn)
        app.get("/v1/notices", operation_id="notice.list")(self.find)
        app.post("/v1/notices:test", operation_id="notice.test", openapi_extra=test)(self.test)

    async def find(self, query: Annotated[Filter, Query()]) -> wire.NoticePage:
        """Newest first."""
        page = await self._notices.find(query.query())
        return wire.NoticePage(notices=[wire.notice_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def test(
        self, request: Request, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.NoticeTestOut:
        """Sends a message that tells of nothing. `sent` says whether it was taken over."""
        wanted = read(wire.NoticeTestIn, body)
        common.about(request, wanted.recipient)
        return wire.tested_out(await self._notices.test(call, wanted.recipient))


def _chosen(choice: _Choice | None) -> bool | None:
    return None if choice is None else choice == "true"
