"""Named secrets: what there is and how it stands, who may read what. No page has a value of one, nor takes one in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from sds.admin.pages import common
from sds.admin.pages.api import segment
from sds.admin.pages.security import Form
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

_SECRETS = ("prefix", "kind", "backend", "owner", "problem", "sort")
_GRANTS = ("secret", "spiffe_id", "sort")
MATRIX = 200
"""Grants of one matrix: more cannot be taken in."""


class SecretPages:
    def mount(self, site: Site) -> None:
        one = "/secrets/{name:path}"
        site.show("/secrets", self.find)
        site.show("/grants", self.grants)
        site.act("/grants", self.grant)
        site.act("/grants/{grant_id}/delete", self.take_back)
        site.show(f"{one}/confirm", self.confirm)
        site.act(f"{one}/refresh", self.refresh)
        site.act(f"{one}/rollback", self.rollback)
        site.act(f"{one}/delete", self.delete)
        site.show(one, self.get)

    async def find(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/secrets", common.list_query(visit, *_SECRETS))
        return visit.page(
            "secrets.html",
            status=panel.status,
            panel=panel,
            query=common.kept(visit, *_SECRETS),
            filtered=bool(visit.args(*_SECRETS, "label")),
        )

    async def get(self, visit: Visit) -> Response:
        name = _name(visit)
        secret = await visit.get(f"/v1/secrets/{name}")
        return visit.page(
            "secret.html",
            secret=secret,
            versions=await visit.panel(f"/v1/secrets/{name}:versions"),
            readers=await _readers(visit, {"secret": name}),
        )

    async def confirm(self, visit: Visit) -> Response:
        """Who loses it, before the button."""
        name = _name(visit)
        radius, _ = await visit.act("DELETE", f"/v1/secrets/{name}", params=[("dry_run", "true")])
        return visit.page("secret_delete.html", radius=radius)

    async def delete(self, visit: Visit) -> Response:
        form = await visit.form()
        _, approval = await visit.act("DELETE", f"/v1/secrets/{_name(visit)}", revision=form.get("revision"))
        return common.after(visit, approval, "/secrets", "deleted")

    async def refresh(self, visit: Visit) -> Response:
        await visit.form()
        _, approval = await visit.act("POST", f"/v1/secrets/{_name(visit)}:refresh")
        return common.after(visit, approval, _url(visit), "refreshed")

    async def rollback(self, visit: Visit) -> Response:
        version = (await visit.form()).get("version")
        body = {"version": int(version) if version.isascii() and version.isdecimal() else None}
        _, approval = await visit.act("POST", f"/v1/secrets/{_name(visit)}:rollback", body=body)
        return common.after(visit, approval, _url(visit), "pinned" if version else "unpinned")

    async def grants(self, visit: Visit) -> Response:
        return await self._matrix(visit, None, 200)

    async def grant(self, visit: Visit) -> Response:
        form = await visit.form()
        try:
            _, approval = await visit.act("POST", "/v1/grants", body=_granted(form))
        except common.HANDLED as error:
            problem = common.problem_of(error, visit.call.request_id)
            if problem is None:
                raise
            return await self._matrix(visit, problem, int(problem["status"]), form)
        return common.after(visit, approval, "/grants", "granted")

    async def take_back(self, visit: Visit) -> Response:
        form = await visit.form()
        _, approval = await visit.act("DELETE", f"/v1/grants/{visit.request.path_params['grant_id']}")
        back = form.get("secret")
        return common.after(visit, approval, f"/secrets/{segment(back)}" if back else "/grants", "taken")

    async def _matrix(
        self, visit: Visit, problem: Mapping[str, Any] | None, status: int, form: Form | None = None
    ) -> Response:
        asked = visit.args(*_GRANTS, "cursor")
        panel = await visit.panel("/v1/grants", [*asked, ("limit", str(MATRIX))])
        checked = await _readers(visit, dict(visit.args("secret", "spiffe_id"))) if asked else None
        return visit.page(
            "grants.html",
            status=status,
            panel=panel,
            matrix=matrix(panel.rows("grants")),
            readers=checked,
            problem=problem,
            given=form or Form([]),
            query=visit.args(*_GRANTS),
            filtered=bool(visit.args(*_GRANTS)),
        )


async def _readers(visit: Visit, order: Mapping[str, str]) -> Any:
    """Who may have it now, and by which grant; None for who may not ask that."""
    if not order or not visit.can("grant.check"):
        return None
    return await visit.panel("/v1/grants:check", method="POST", body=dict(order))


def matrix(grants: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Secrets down, subjects across, and at each crossing the grant that makes it so."""
    subjects: dict[str, dict[str, str]] = {}
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for grant in grants:
        kind, name = subject(grant)
        subjects.setdefault(f"{kind} {name}", {"kind": kind, "name": name})
        rows.setdefault(grant["secret"], {})[f"{kind} {name}"] = grant
    return {"subjects": dict(sorted(subjects.items())), "rows": dict(sorted(rows.items()))}


def subject(grant: Mapping[str, Any]) -> tuple[str, str]:
    """What kind of subject a grant has, and its name."""
    if grant["spiffe_id"]:
        return "identity", grant["spiffe_id"]
    if grant["spiffe_id_prefix"]:
        return "all below", grant["spiffe_id_prefix"]
    return "labels", common.write_labels(grant["labels"])


def _granted(form: Form) -> dict[str, Any]:
    """Raises InvalidInput."""
    kind, value = form.get("to"), form.get("subject")
    if kind in {"spiffe_id", "spiffe_id_prefix"}:
        return {"secret": form.get("secret"), kind: value}
    return {"secret": form.get("secret"), "labels": common.read_labels(value)}


def _name(visit: Visit) -> str:
    return str(visit.request.path_params["name"])


def _url(visit: Visit) -> str:
    return f"/secrets/{segment(_name(visit))}"
