"""Notices: what people were told of, or are to be, and a test message."""

from __future__ import annotations

from starlette.responses import Response

from sds.admin.pages import common
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

_NAMES = ("kind", "subject", "recipient", "owner", "over", "urgent", "failing")


class NoticePages:
    def mount(self, site: Site) -> None:
        site.show("/notices", self.find)
        site.act("/notices", self.test)

    async def find(self, visit: Visit) -> Response:
        return await self._page(visit, None)

    async def test(self, visit: Visit) -> Response:
        form = await visit.form()
        tested, approval = await visit.act("POST", "/v1/notices:test", body={"recipient": form.get("recipient")})
        if approval:
            return common.after(visit, approval, "", "")
        return visit.go("/notices?done=sent") if tested["sent"] else await self._page(visit, tested)

    async def _page(self, visit: Visit, tested: object) -> Response:
        return visit.page(
            "notices.html",
            panel=await visit.panel("/v1/notices", common.list_query(visit, *_NAMES)),
            query=common.kept(visit, *_NAMES),
            filtered=bool(visit.args(*_NAMES)),
            tested=tested,
        )
