"""/v1/explain: who would get what. /v1/statistics: the numbers of the overview."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query

from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, NoQuery
from sds.admin.services.explain import ExplainAdmin
from sds.admin.services.statistics import StatisticsAdmin
from sds.admin.wire import explain as wire
from sds.admin.wire.common import read


class InsightRoutes:
    def __init__(self, explain: ExplainAdmin, statistics: StatisticsAdmin) -> None:
        self._explain = explain
        self._statistics = statistics

    def mount(self, app: FastAPI) -> None:
        body = common.documented(wire.ExplainIn)
        app.post("/v1/explain", operation_id="explain", openapi_extra=body)(self.explain)
        app.get("/v1/statistics", operation_id="statistics.show")(self.overview)

    async def explain(self, call: Call, body: Body, _query: Annotated[NoQuery, Query()]) -> wire.ExplanationOut:
        """Which entries match these selectors, which nearly do and what is missing there, and the secrets they get."""
        asked = read(wire.ExplainIn, body)
        return wire.explanation_out(await self._explain.explain(call, asked.parent_id, frozenset(asked.selectors)))

    async def overview(self, call: Call, _query: Annotated[NoQuery, Query()]) -> wire.StatisticsOut:
        """Numbers of the whole trust domain, some seconds old at most."""
        return wire.statistics_out(await self._statistics.overview(call))
