"""Registration entries: list, detail, and a form that shows what a change does before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from attestation.rules import diff, normalise
from sds.admin.pages import common
from sds.admin.pages.api import Refused, segment
from sds.admin.pages.security import Form
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit
from sds.admin.services import EntryAdmin
from sds.admin.wire.entries import read_entry, read_replacement

_NAMES = ("spiffe_id", "parent_id", "selector", "owner", "hint", "profile", "sort")
_LISTS = ("selectors", "dns_names", "federates_with", "extra_sans")
_TEXTS = ("spiffe_id", "parent_id", "x509_ttl", "jwt_ttl", "hint", "owner", "profile", "subject", "expires_at")
_RULES = ("hint", "owner", "profile", "subject")
"""Empty text is a value of these; of the others it is none."""


class EntryPages:
    def __init__(self, entries: EntryAdmin) -> None:
        self._entries = entries

    def mount(self, site: Site) -> None:
        one = "/entries/{entry_id}"
        site.show("/entries", self.find)
        site.show("/entries/new", self.new)
        site.act("/entries/new", self.create)
        site.show("/explain", self.explain)
        site.show(one, self.get)
        site.show(f"{one}/edit", self.edit)
        site.act(f"{one}/edit", self.update)
        site.show(f"{one}/delete", self.confirm)
        site.act(f"{one}/delete", self.delete)

    async def find(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/entries", common.list_query(visit, *_NAMES))
        return visit.page(
            "entries.html",
            status=panel.status,
            panel=panel,
            query=common.kept(visit, *_NAMES),
            filtered=bool(visit.args(*_NAMES, "label")),
        )

    async def get(self, visit: Visit) -> Response:
        entry = await visit.get(_path(visit))
        return visit.page("entry.html", entry=entry, **await reach(visit, entry))

    async def new(self, visit: Visit) -> Response:
        given = {name: visit.arg(name) for name in ("spiffe_id", "parent_id", "owner")}
        return visit.page("entry_form.html", entry=None, values=_blank() | given, problem=None, preview=None)

    async def create(self, visit: Visit) -> Response:
        form = await visit.form()
        values = _values(form)
        if form.get("confirmed") == "back":
            return visit.page("entry_form.html", entry=None, values=values, problem=None, preview=None)
        try:
            if form.get("confirmed") != "yes":
                spec = normalise(read_entry(_body(values), self._entries.problems))
                found = await reach(visit, {"id": "", "spiffe_id": str(spec.spiffe_id), "selectors": []})
                return visit.page(
                    "entry_form.html", entry=None, values=values, problem=None, preview={"changes": {}, **found}
                )
            made, approval = await visit.act("POST", "/v1/entries", body=_body(values))
        except common.HANDLED as error:
            return _again(visit, None, values, error)
        return common.after(visit, approval, f"/entries/{segment(made['id'])}" if not approval else "", "created")

    async def edit(self, visit: Visit) -> Response:
        entry = await visit.get(_path(visit))
        return visit.page("entry_form.html", entry=entry, values=_shown(entry), problem=None, preview=None)

    async def update(self, visit: Visit) -> Response:
        """Twice: first it shows what would change and for whom, then does it, unless somebody else was faster."""
        form = await visit.form()
        values, entry = _values(form), await visit.get(_path(visit))
        revision = form.get("revision")
        seen = {**entry, "revision": revision}
        if form.get("confirmed") == "back":
            return visit.page("entry_form.html", entry=seen, values=values, problem=None, preview=None)
        try:
            if form.get("confirmed") != "yes":
                item = read_replacement(_body(values), self._entries.problems)
                before = read_replacement(dict(entry), lambda _: ())
                changes = diff(before.spec, normalise(item.spec))
                found = await reach(visit, entry)
                return visit.page(
                    "entry_form.html",
                    entry=seen,
                    values=values,
                    problem=None,
                    preview={"changes": changes, **found},
                )
            _, approval = await visit.act("PUT", _path(visit), body=_body(values), revision=revision)
        except common.HANDLED as error:
            return _again(visit, seen, values, error)
        return common.after(visit, approval, f"/entries/{segment(entry['id'])}", "saved")

    async def explain(self, visit: Visit) -> Response:
        """Who would get what: selectors in, entries that match or nearly do out. It changes nothing."""
        given, parent = visit.arg("selectors"), visit.arg("parent_id")
        found = None
        if given:
            selectors = [line.strip() for line in given.splitlines() if line.strip()]
            body = {"selectors": selectors} | ({"parent_id": parent} if parent else {})
            found = await visit.panel("/v1/explain", method="POST", body=body)
        status = int(found.problem["status"]) if found and found.problem else 200
        return visit.page("explain.html", status=status, found=found)

    async def confirm(self, visit: Visit) -> Response:
        entry = await visit.get(_path(visit))
        return visit.page("entry_delete.html", entry=entry, **await reach(visit, entry))

    async def delete(self, visit: Visit) -> Response:
        form = await visit.form()
        _, approval = await visit.act("DELETE", _path(visit), revision=form.get("revision"))
        return common.after(visit, approval, "/entries", "deleted")


async def reach(visit: Visit, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Whom an entry concerns: streams of its identity, its unexpired certificates, and the secrets it may have."""
    spiffe_id = entry["spiffe_id"]
    found: dict[str, Any] = {
        "streams": await visit.panel("/v1/streams", [("spiffe_id", spiffe_id), ("limit", "20")]),
        "grants": await visit.panel("/v1/grants", [("spiffe_id", spiffe_id), ("limit", "50")]),
        "certificates": None,
    }
    if entry["id"] and visit.can("certificate.list"):
        asked = [("entry_id", entry["id"]), ("state", "active"), ("limit", "10"), ("sort", "-expires")]
        found["certificates"] = await visit.panel("/v1/certificates", asked)
    return found


def _path(visit: Visit) -> str:
    return f"/v1/entries/{visit.request.path_params['entry_id']}"


def _again(visit: Visit, entry: object, values: dict[str, str], error: Exception) -> Response:
    """The form as it was filled in, with what is wrong with it."""
    problem = common.problem_of(error, visit.call.request_id)
    if problem is None or (isinstance(error, Refused) and error.status == 412):
        raise error
    return visit.page(
        "entry_form.html", status=int(problem["status"]), entry=entry, values=values, problem=problem, preview=None
    )


def _blank() -> dict[str, str]:
    return dict.fromkeys((*_TEXTS, *_LISTS, "labels"), "")


def _shown(entry: Mapping[str, Any]) -> dict[str, str]:
    """An entry as the form's texts."""
    found = {name: "" if entry[name] is None else str(entry[name]) for name in _TEXTS}
    found |= {name: "\n".join(entry[name]) for name in _LISTS}
    return (
        found
        | {name: f"{entry[name]}s" for name in ("x509_ttl", "jwt_ttl") if entry[name] is not None}
        | {"labels": common.write_labels(entry["labels"])}
    )


def _values(form: Form) -> dict[str, str]:
    return {name: form.get(name) for name in (*_TEXTS, "labels")} | {name: form.raw(name) for name in _LISTS}


def _body(values: Mapping[str, str]) -> dict[str, Any]:
    """The form's texts as the API's body. Raises InvalidInput for labels that are none."""
    body: dict[str, Any] = {name: values[name] for name in _TEXTS if values[name] or name in _RULES}
    for name in _LISTS:
        body[name] = [line.strip() for line in values[name].splitlines() if line.strip()]
    return body | {"labels": common.read_labels(values["labels"])}
