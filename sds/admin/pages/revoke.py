"""Taking back what was issued: first what that hits, then the button. And what is taken back already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ca.revocation import Reason
from sds.admin.pages import common
from sds.admin.pages.api import segment
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

_ORDER = ("kind", "value", "reason", "incident", "issuer")
_BLOCKS = ("kind", "standing", "sort")


class RevokePages:
    def mount(self, site: Site) -> None:
        site.show("/revoke", self.ask)
        site.act("/revoke", self.revoke)
        site.show("/blocks", self.blocks)
        site.show("/blocks/{block_id}", self.block)
        site.act("/blocks/{block_id}/lift", self.lift)

    async def ask(self, visit: Visit) -> Response:
        """A dry run, which changes nothing: its URL may be shown to a colleague."""
        order = dict(visit.args(*_ORDER))
        found = None
        if order.get("value"):
            found = await visit.panel("/v1/revocations", method="POST", body={**order, "dry_run": True})
        blocks = await visit.panel("/v1/blocks", [("limit", "10"), ("standing", "true")])
        return visit.page(
            "revoke.html",
            reasons=[(each.value, each.value.replace("-", " ")) for each in Reason],
            order=dict.fromkeys(_ORDER, "") | order,
            found=found,
            blocks=blocks,
            status=_status(found) if found else 200,
        )

    async def revoke(self, visit: Visit) -> Response:
        form = await visit.form()
        order = {name: form.get(name) for name in _ORDER if form.get(name)}
        done, approval = await visit.act("POST", "/v1/revocations", body={**order, "dry_run": False})
        if approval:
            return common.after(visit, approval, "", "")
        return visit.go(f"/blocks/{segment(done['block']['id'])}?done=revoked")

    async def blocks(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/blocks", common.list_query(visit, *_BLOCKS))
        return visit.page(
            "blocks.html",
            status=panel.status,
            panel=panel,
            query=common.kept(visit, *_BLOCKS),
            filtered=bool(visit.args(*_BLOCKS)),
        )

    async def block(self, visit: Visit) -> Response:
        block = await visit.get(_path(visit))
        revoked = await visit.panel("/v1/revocations", [("block_id", block["id"]), ("limit", "100")])
        return visit.page("block.html", block=block, revoked=revoked, lifted=_may_be_lifted(block))

    async def lift(self, visit: Visit) -> Response:
        await visit.form()
        lifted, approval = await visit.act("POST", f"{_path(visit)}:lift")
        return common.after(visit, approval, "" if approval else f"/blocks/{lifted['block']['id']}", "lifted")


def _may_be_lifted(block: Mapping[str, Any]) -> bool:
    return block["lifted_at"] is None and block["kind"] != "authority"


def _status(found: Any) -> int:
    return int(found.problem["status"]) if found.problem else 200


def _path(visit: Visit) -> str:
    return f"/v1/blocks/{visit.request.path_params['block_id']}"
