"""/v1/approvals: what waits for somebody else."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request

from sds.admin.four_eyes import perform
from sds.admin.routes import common
from sds.admin.routes.common import Call, NoQuery, OptionalBody, Paging
from sds.admin.services.approvals import ApprovalAdmin, ApprovalQuery, ApprovalState
from sds.admin.wire import approvals as wire
from sds.admin.wire.common import read
from sds.store.errors import NotFound

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class ApprovalFilter(Paging):
    state: ApprovalState | None = None


class ApprovalRoutes:
    def __init__(self, approvals: ApprovalAdmin) -> None:
        self._approvals = approvals

    def mount(self, app: FastAPI) -> None:
        many, one = "/v1/approvals", "/v1/approvals/{approval_id}"
        why = common.documented(wire.RejectIn)
        self._app = app
        app.get(many, operation_id="approval.list")(self.find)
        app.post(f"{one}:approve", operation_id="approval.approve")(self.approve)
        app.post(f"{one}:reject", operation_id="approval.reject", openapi_extra=why)(self.reject)
        app.get(one, operation_id="approval.show")(self.get)

    async def find(self, query: Annotated[ApprovalFilter, Query()]) -> wire.ApprovalPage:
        page = await self._approvals.page(ApprovalQuery(query.state, query.limit, query.cursor))
        return wire.ApprovalPage(
            approvals=[wire.approval_out(each) for each in page.items], next_cursor=page.next_cursor
        )

    async def get(self, approval_id: str, _query: Annotated[NoQuery, Query()]) -> wire.ApprovalOut:
        return wire.approval_out(await self._approvals.get(_known(approval_id)))

    async def approve(
        self, request: Request, call: Call, approval_id: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.PerformedOut:
        """Does what was asked for, now, as who asked for it: with the rights that they have now, and only once."""
        known = _known(approval_id)
        common.about(request, known)
        approved = await self._approvals.approve(call, known)
        status, result = await perform(self._app, approved)
        info = await self._approvals.finish(call, known, status=status)
        return wire.PerformedOut(approval=wire.approval_out(info), status=status, result=result)

    async def reject(
        self, request: Request, call: Call, approval_id: str, body: OptionalBody, _query: Annotated[NoQuery, Query()]
    ) -> wire.ApprovalOut:
        """It is not done. Who asked for it may take it back so, too."""
        known = _known(approval_id)
        common.about(request, known)
        reason = read(wire.RejectIn, body).reason
        return wire.approval_out(await self._approvals.reject(call, known, reason))


def _known(text: str) -> str:
    if not _ID.fullmatch(text):
        raise NotFound("approval", "this is no approval's ID")
    return text
