"""The audit log: filter, one event with its proof verified here, and exports."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sds.admin.pages import common
from sds.admin.pages.proof import verified
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

FILTERS = ("action", "outcome", "actor", "target", "since", "until", "request_id")


class AuditPages:
    def mount(self, site: Site) -> None:
        site.show("/audit", self.find)
        site.show("/audit/{sequence}", self.event)

    async def find(self, visit: Visit) -> Response:
        """Newest first; `before` is the place in the log."""
        filters = visit.args(*FILTERS)
        place = visit.args("before", "after")
        panel = await visit.panel("/v1/audit", [*filters, *place, *(visit.args("limit") or [("limit", "50")])])
        events = sorted(panel.rows("events"), key=lambda each: -each["sequence"])
        older = events[-1]["sequence"] if events and events[-1]["sequence"] > 1 else None
        return visit.page(
            "audit.html",
            status=panel.status,
            panel=panel,
            events=events,
            query=filters,
            filtered=bool(filters),
            older=older,
            health=await self._health(visit),
        )

    async def event(self, visit: Visit) -> Response:
        sequence = visit.request.path_params["sequence"]
        if not (sequence.isascii() and sequence.isdecimal() and len(sequence) < 19):
            raise common.nothing_here()
        event = await visit.get(f"/v1/audit/events/{sequence}")
        proof = await visit.panel(f"/v1/audit/events/{sequence}/proof")
        keys = await visit.panel("/v1/audit/keys")
        steps = () if proof.problem else verified(event, proof.data, [each["verifier"] for each in keys.rows("keys")])
        return visit.page("event.html", event=event, proof=proof, steps=steps)

    async def _health(self, visit: Visit) -> dict[str, Any]:
        return {
            "checkpoint": await visit.panel("/v1/audit/checkpoint"),
            "sinks": await visit.panel("/v1/audit/sinks"),
        }
