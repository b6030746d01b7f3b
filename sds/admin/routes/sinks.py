"""/v1/audit/sinks: to whom the audit log is told, and how far each is behind."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query

from sds.admin.routes.common import NoQuery
from sds.admin.services.sinks import SinkAdmin
from sds.admin.wire.sinks import SinkList, sink_out


class SinkRoutes:
    def __init__(self, sinks: SinkAdmin) -> None:
        self._sinks = sinks

    def mount(self, app: FastAPI) -> None:
        app.get("/v1/audit/sinks", operation_id="audit.sinks")(self.all)

    async def all(self, _query: Annotated[NoQuery, Query()]) -> SinkList:
        """The sinks of the server that answers, in the order of its configuration."""
        return SinkList(sinks=[sink_out(each) for each in await self._sinks.all()])
