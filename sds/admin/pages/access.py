"""Who one is here, who else may what, API tokens, and what waits for a second pair of eyes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sds.admin.pages import common
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Panel, Visit
from sds.admin.wire.access import whoami_out

ROLES = (
    ("viewer", "sees the inventory"),
    ("auditor", "sees the audit log and exports as well"),
    ("operator", "changes entries, grants, secrets and agents, and revokes"),
    ("admin", "may do anything"),
)
_BLANK: dict[str, str] = {}


class AccessPages:
    def mount(self, site: Site) -> None:
        site.show("/access", self.show)
        site.act("/access/tokens", self.create_token)
        site.act("/access/tokens/{token_id}/revoke", self.revoke_token)
        site.act("/access/bindings", self.bind)
        site.act("/access/bindings/{binding_id}/delete", self.unbind)
        site.act("/access/approvals/{approval_id}/{deed}", self.decide)

    async def show(self, visit: Visit) -> Response:
        return await _page(visit)

    async def create_token(self, visit: Visit) -> Response:
        """Answers with the token itself: it is shown only here, so there is no page to be led to."""
        form = await visit.form()
        values = {name: form.get(name) for name in ("name", "role", "below", "labels", "ttl_seconds")}
        try:
            made, approval = await visit.act("POST", "/v1/access/tokens", body=_right(values, "name", "ttl_seconds"))
        except common.HANDLED as error:
            return await _again(visit, error, token=values)
        return common.after(visit, approval, "", "") if approval else await _page(visit, made=made, status=201)

    async def revoke_token(self, visit: Visit) -> Response:
        await visit.form()
        name = visit.request.path_params["token_id"]
        _, approval = await visit.act("DELETE", f"/v1/access/tokens/{name}")
        return common.after(visit, approval, "/access", "token-revoked")

    async def bind(self, visit: Visit) -> Response:
        form = await visit.form()
        values = {name: form.get(name) for name in ("subject", "role", "below", "labels", "expires_at")}
        try:
            _, approval = await visit.act("POST", "/v1/access/bindings", body=_right(values, "subject", "expires_at"))
        except common.HANDLED as error:
            return await _again(visit, error, binding=values)
        return common.after(visit, approval, "/access", "bound")

    async def unbind(self, visit: Visit) -> Response:
        await visit.form()
        name = visit.request.path_params["binding_id"]
        _, approval = await visit.act("DELETE", f"/v1/access/bindings/{name}")
        return common.after(visit, approval, "/access", "unbound")

    async def decide(self, visit: Visit) -> Response:
        await visit.form()
        deed, name = visit.request.path_params["deed"], visit.request.path_params["approval_id"]
        if deed not in {"approve", "reject"}:
            raise common.nothing_here()
        await visit.act("POST", f"/v1/approvals/{name}:{deed}")
        return visit.go(f"/access?done={'approved' if deed == 'approve' else 'rejected'}")


async def _page(
    visit: Visit,
    *,
    status: int = 200,
    problem: object = None,
    made: object = None,
    token: dict[str, str] = _BLANK,
    binding: dict[str, str] = _BLANK,
) -> Response:
    return visit.page(
        "access.html",
        status=status,
        problem=problem,
        me=whoami_out(visit.call).model_dump(mode="json"),
        tokens=await _list(visit, "access.token.list", "/v1/access/tokens"),
        bindings=await _list(visit, "access.binding.list", "/v1/access/bindings"),
        approvals=await _list(visit, "approval.list", "/v1/approvals"),
        made=made,
        all_roles=ROLES,
        token=token,
        binding=binding,
    )


async def _list(visit: Visit, operation: str, path: str) -> Panel | None:
    """None for who may not see it, and where access is not to be configured."""
    if not visit.can(operation):
        return None
    panel = await visit.panel(path, [("limit", "200")])
    return None if panel.problem and panel.problem["type"].endswith(":no-such-path") else panel


async def _again(visit: Visit, error: Exception, **given: dict[str, str]) -> Response:
    problem = common.problem_of(error, visit.call.request_id)
    if problem is None:
        raise error
    return await _page(visit, status=int(problem["status"]), problem=problem, **given)


def _right(values: dict[str, str], *others: str) -> dict[str, Any]:
    """Raises InvalidInput."""
    body: dict[str, Any] = {name: values[name] for name in ("role", "below", *others) if values[name]}
    return body | {"labels": common.read_labels(values["labels"])}
