"""Authorities: when each holds, how far the rotation is, who still holds it up, and what moves it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.responses import Response

from sds.admin.pages import charts, common, text
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

DEEDS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "activate": ("authority.activate", ("force", "cross_sign"), "activated"),
    "taint": ("authority.taint", (), "tainted"),
    "revoke": ("authority.revoke", ("force",), "authority-revoked"),
}
"""Of each: the operation, what may be ticked, and the word for its being done."""


class AuthorityPages:
    def mount(self, site: Site) -> None:
        one = "/authorities/{authority_id}"
        site.show("/authorities", self.overview)
        site.act("/authorities", self.prepare)
        site.show(one, self.get)
        site.show(f"{one}/{{deed}}", self.confirm)
        site.act(f"{one}/{{deed}}", self.do)

    async def overview(self, visit: Visit) -> Response:
        found = await visit.get("/v1/authorities", visit.args("kind"))
        return visit.page(
            "authorities.html",
            authorities=[_judged(each) for each in found["authorities"]],
            due=found["due"],
            charts={kind: chart(found["authorities"], kind, visit.now) for kind in ("x509", "jwt")},
        )

    async def get(self, visit: Visit) -> Response:
        return visit.page("authority.html", one=_judged(await visit.get(_path(visit))))

    async def prepare(self, visit: Visit) -> Response:
        form = await visit.form()
        _, approval = await visit.act("POST", "/v1/authorities:prepare", body={"kind": form.get("kind")})
        return common.after(visit, approval, "/authorities", "prepared")

    async def confirm(self, visit: Visit) -> Response:
        deed = _deed(visit)
        one = _judged(await visit.get(_path(visit)))
        radius = None
        if deed != "activate" and visit.can("revocation.create"):
            order = {"kind": "authority", "value": one["id"], "dry_run": True}
            radius = await visit.panel("/v1/revocations", method="POST", body=order)
        return visit.page("authority_confirm.html", one=one, deed=deed, radius=radius, allowed=DEEDS[deed][1])

    async def do(self, visit: Visit) -> Response:
        form, deed = await visit.form(), _deed(visit)
        body = {name: form.get(name) == "true" for name in DEEDS[deed][1]}
        _, approval = await visit.act("POST", f"{_path(visit)}:{deed}", body=body or None)
        return common.after(visit, approval, "/authorities", DEEDS[deed][2])


def chart(authorities: Sequence[Mapping[str, Any]], kind: str, now: datetime) -> charts.Timeline:
    """From when each may sign to when it ends, oldest first."""
    spans = [
        charts.Span(
            text.short(one["id"], 10),
            _look(one),
            text.parse_time(one["not_before"]),
            text.parse_time(one["not_after"]),
            f"{one['id']}: {_word(one)}, from {one['not_before']} to {one['not_after']}",
        )
        for one in authorities
        if one["kind"] == kind
    ]
    return charts.timeline(spans, now)


def _judged(one: Mapping[str, Any]) -> dict[str, Any]:
    """With a mark, a word and how far its gate is."""
    gate = one["gate"]
    progress = None if gate is None else charts.share(gate["acked"], gate["total"])
    return {**one, "mark": _mark(one), "word": _word(one), "progress": progress}


def _word(one: Mapping[str, Any]) -> str:
    state = str(one["state"])
    return "revoked" if one["revoked"] else f"{state}, tainted" if one["tainted"] else state


def _mark(one: Mapping[str, Any]) -> str:
    if one["revoked"]:
        return "bad"
    if one["tainted"]:
        return "warn"
    return {"active": "ok", "prepared": "busy"}.get(one["state"], "idle")


def _look(one: Mapping[str, Any]) -> str:
    return "gone" if one["revoked"] or one["tainted"] else str(one["state"])


def _path(visit: Visit) -> str:
    return f"/v1/authorities/{visit.request.path_params['authority_id']}"


def _deed(visit: Visit) -> str:
    """Raises NotFound."""
    deed = str(visit.request.path_params["deed"])
    if deed not in DEEDS:
        raise common.nothing_here()
    return deed
