"""Workloads and agents: which sidecar holds what, and the agents that feed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sds.admin.pages.api import segment
from sds.admin.pages.common import after, kept, list_query
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

_STREAMS = ("agent_id", "spiffe_id", "node_id", "protocol", "resource", "nacked", "behind", "sort")
_AGENTS = ("banned", "attestation_type", "below", "version", "downstream", "silent_since", "sort")
SHOWN = 25
"""Streams on an agent's own page."""


class FleetPages:
    def mount(self, site: Site) -> None:
        site.show("/workloads", self.streams)
        site.show("/agents", self.agents)
        site.act("/agents/{agent_id:path}/ban", self.ban)
        site.act("/agents/{agent_id:path}/delete", self.delete)
        site.show("/agents/{agent_id:path}/confirm", self.confirm)
        site.show("/agents/{agent_id:path}", self.agent)

    async def streams(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/streams", list_query(visit, *_STREAMS))
        return visit.page(
            "workloads.html",
            status=panel.status,
            panel=panel,
            streams=[shown(each) for each in panel.rows("streams")],
            query=kept(visit, *_STREAMS),
            filtered=bool(visit.args(*_STREAMS)),
        )

    async def agents(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/agents", list_query(visit, *_AGENTS))
        return visit.page(
            "agents.html",
            status=panel.status,
            panel=panel,
            query=kept(visit, *_AGENTS),
            filtered=bool(visit.args(*_AGENTS)),
        )

    async def agent(self, visit: Visit) -> Response:
        name = visit.request.path_params["agent_id"]
        agent = await visit.get(_agent(name))
        panel = await visit.panel("/v1/streams", [("agent_id", name), ("limit", str(SHOWN))])
        entries = await visit.panel("/v1/entries", [("parent_id", name), ("limit", str(SHOWN))])
        return visit.page(
            "agent.html",
            agent=agent,
            panel=panel,
            streams=[shown(each) for each in panel.rows("streams")],
            entries=entries,
        )

    async def confirm(self, visit: Visit) -> Response:
        """What banning or forgetting it means, before the button."""
        name = visit.request.path_params["agent_id"]
        agent = await visit.get(_agent(name))
        radius = await visit.panel(
            "/v1/revocations", method="POST", body={"kind": "agent", "value": name, "dry_run": True}
        )
        return visit.page("agent_confirm.html", agent=agent, radius=radius, deed=visit.arg("deed"))

    async def ban(self, visit: Visit) -> Response:
        form, name = await visit.form(), visit.request.path_params["agent_id"]
        _, approval = await visit.act("POST", f"{_agent(name)}/ban", body={"reason": form.get("reason")})
        return after(visit, approval, f"/agents/{segment(name)}", "banned")

    async def delete(self, visit: Visit) -> Response:
        await visit.form()
        _, approval = await visit.act("DELETE", _agent(visit.request.path_params["agent_id"]))
        return after(visit, approval, "/agents", "deleted")


def shown(stream: Mapping[str, Any]) -> dict[str, Any]:
    """A stream with a verdict: the worst of its resources'."""
    resources = [{**each, "verdict": verdict(each, stream["protocol"])} for each in stream["resources"]]
    order = ("rejected", "waiting", "sent", "held")
    worst = next((one for one in order if any(each["verdict"] == one for each in resources)), "nothing")
    return {**stream, "resources": resources, "verdict": worst}


def verdict(resource: Mapping[str, Any], protocol: str) -> str:
    """`rejected`: what it was sent last it did not take. `sent`: its protocol acknowledges nothing."""
    if resource["nacked_version"] and resource["nacked_version"] == resource["sent_version"]:
        return "rejected"
    if protocol == "workload-api":
        return "sent"
    if resource["sent_version"] and resource["sent_version"] == resource["acked_version"]:
        return "held"
    return "rejected" if resource["nacked_version"] else "waiting"


def _agent(name: str) -> str:
    return f"/v1/agents/{name}"
