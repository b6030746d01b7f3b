"""The first page of the morning: how many there are, whether they are well, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from sds.admin.pages import charts, fleet, text
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit


class OverviewPages:
    def mount(self, site: Site) -> None:
        site.show("/", self.overview)

    async def overview(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/statistics")
        numbers = None if panel.problem else panel.data
        authorities = await visit.panel("/v1/authorities")
        rejected = await visit.panel("/v1/streams", [("nacked", "true"), ("limit", "5")])
        return visit.page(
            "overview.html",
            panel=panel,
            n=numbers,
            at=None if numbers is None else text.past(text.parse_time(numbers["at"]), visit.now),
            issued=None if numbers is None else issuance(numbers),
            expiring=None if numbers is None else expiring(numbers["expiring"]),
            authorities=authorities,
            standing=[one for one in authorities.rows("authorities") if one["state"] != "old" and not one["revoked"]],
            rejected=[fleet.shown(each) for each in rejected.rows("streams")],
        )


def issuance(numbers: Mapping[str, Any]) -> charts.BarChart:
    """A column a minute of the last hour, refusals on top."""
    issued, refused = numbers["issued_a_minute"], numbers["refused_a_minute"]
    last = text.parse_time(numbers["at"])
    columns = []
    for index, (good, bad) in enumerate(zip(issued, refused, strict=True)):
        ago = len(issued) - index
        minute = (last - timedelta(minutes=ago - 1)).strftime("%H:%M")
        title = f"{minute}: {text.plural(good, 'certificate')} issued, {text.plural(bad, 'refusal')}"
        label = minute if ago % 15 == 0 or ago == 1 else ""
        columns.append(charts.Column((("", good), ("refused", bad)), title, label))
    return charts.bars(columns)


def expiring(spans: Sequence[Mapping[str, Any]]) -> charts.BarChart:
    """A column a span of time; the first quarter is soon."""
    columns = []
    for index, each in enumerate(spans):
        start, end = text.parse_time(each["start"]), text.parse_time(each["end"])
        written = "%H:%M" if end - start < timedelta(days=1) else "%b %d"
        title = f"{start.strftime('%b %d %H:%M')} to {end.strftime('%b %d %H:%M')}: {each['count']} expire"
        label = start.strftime(written) if index % max(len(spans) // 5, 1) == 0 else ""
        kind = "soon" if index < len(spans) / 4 else ""
        columns.append(charts.Column(((kind, each["count"]),), title, label))
    return charts.bars(columns)
