"""One request of a browser: who it is, what it asks the API, and the page that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sds.admin.access.decide import permitted
from sds.admin.errors import Forbidden
from sds.admin.pages.api import Api, Params, Refused
from sds.admin.pages.assets import Assets
from sds.admin.pages.nav import NAVIGATION, sections
from sds.admin.pages.render import query, when
from sds.admin.pages.security import HEADERS, Form, read_form
from sds.admin.services import AdminCall

MAX_QUERY = 4096
"""Characters of one query value that a page passes on."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a page: what the API said, or why it refused. `data` is empty then."""

    data: Any
    problem: Mapping[str, Any] | None = None

    @property
    def forbidden(self) -> bool:
        return self.problem is not None and self.problem["status"] == 403

    @property
    def status(self) -> int:
        """Of a page whose main part this is."""
        return int(self.problem["status"]) if self.problem else 200

    def rows(self, noun: str) -> Sequence[Any]:
        """The list of that name, empty where there is a problem."""
        found: Sequence[Any] = () if self.problem else self.data[noun]
        return found

    @property
    def next_cursor(self) -> str | None:
        cursor: str | None = None if self.problem else self.data["next_cursor"]
        return cursor


@dataclass(frozen=True, slots=True)
class Desk:
    """What all visits share."""

    api: Api
    templates: Environment
    assets: Assets
    now: Callable[[], datetime]


class Visit:
    def __init__(self, desk: Desk, request: Request) -> None:
        self._desk = desk
        self.request = request
        self.call: AdminCall = request.scope["state"]["call"]
        self.now = desk.now()

    @property
    def csrf(self) -> str:
        """The session's secret; "" where the caller has no session."""
        return self.call.csrf

    def can(self, operation: str) -> bool:
        """Whether a link or a button makes sense. The API decides again."""
        try:
            permitted(self.call, operation)
        except Forbidden:
            return False
        return True

    def arg(self, name: str) -> str:
        """A query value without white space around it, "" if there is none."""
        return self.request.query_params.get(name, "").strip()[:MAX_QUERY]

    def args(self, *names: str) -> list[tuple[str, str]]:
        """The query values of these names that are not empty, to be passed on."""
        pairs = [(name, value.strip()[:MAX_QUERY]) for name, value in self.request.query_params.multi_items()]
        return [(name, value) for name, value in pairs if name in names and value]

    async def get(self, path: str, params: Params = ()) -> Any:
        """Raises Refused."""
        return await self._desk.api.get(self.request, path, params)

    async def panel(self, path: str, params: Params = (), *, method: str = "GET", body: object = None) -> Panel:
        """A part that may fail alone: the rest of the page is shown."""
        try:
            answer = await self._desk.api.send(self.request, method, path, params=params, body=body)
        except Refused as error:
            return Panel({}, error.problem)
        return Panel(answer.value)

    async def ask(self, path: str, body: object) -> Any:
        """A question that takes a body and changes nothing. Raises Refused."""
        return (await self._desk.api.send(self.request, "POST", path, body=body)).value

    async def form(self) -> Form:
        """Of a POST. Raises what `read_form` does."""
        return await read_form(self.request, self.csrf)

    async def act(
        self, method: str, path: str, *, body: object = None, params: Params = (), revision: str = ""
    ) -> tuple[Any, str]:
        """Does it. Answers the API's answer, and the approval's ID if somebody else has to approve it first.

        Raises Refused.
        """
        answer = await self._desk.api.send(self.request, method, path, body=body, params=params, if_match=revision)
        return answer.value, answer.value["id"] if answer.status == 202 else ""

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        shown = self._desk.templates.get_template(template).render(**self._context(), **values)
        return HTMLResponse(shown, status_code=status, headers=dict(HEADERS))

    def problem(self, problem: Mapping[str, Any]) -> Response:
        """An error as a page, with the problem's own text."""
        return self.page("problem.html", status=int(problem["status"]), problem=problem)

    @staticmethod
    def go(url: str) -> Response:
        """See another page (Post/Redirect/Get)."""
        return RedirectResponse(url, status_code=303, headers=dict(HEADERS))

    def _context(self) -> dict[str, Any]:
        path = self.request.url.path
        return {
            "asset": self._desk.assets.url,
            "can": self.can,
            "caller": self.call.caller,
            "csrf": self.csrf,
            "done": DONE.get(self.arg("done"), ""),
            "here_url": path + query([pair for pair in self.request.query_params.multi_items() if pair[0] != "done"]),
            "here": next((each.path for each in NAVIGATION if each.holds(path)), ""),
            "known": bool(self.call.rights),
            "navigation": sections(self.can),
            "now": self.now,
            "request_id": self.call.request_id,
            "roles": sorted({right.role.value for right in self.call.rights}),
            "arg": self.arg,
            "when": lambda value: when(value, self.now),
            "path": path,
        }


DONE: Mapping[str, str] = {
    "created": "Created.",
    "saved": "Saved.",
    "unchanged": "Nothing differed, so nothing was changed.",
    "deleted": "Deleted.",
    "banned": "Banned. Its streams are ended, and it is refused from now on.",
    "granted": "Granted.",
    "taken": "The grant is taken back.",
    "refreshed": "The source was asked; its state is below.",
    "pinned": "This version is delivered from now on.",
    "unpinned": "The newest version is delivered again.",
    "written": "A new version is written.",
    "prepared": "The next authority is made, and published in the bundle.",
    "activated": "It signs from now on.",
    "tainted": "It signs nothing more, and what it issued is being replaced.",
    "authority-revoked": "It is out of the bundle.",
    "revoked": "Revoked.",
    "lifted": "Lifted: it is issued to again.",
    "approval": "Nothing has happened yet: somebody else has to approve it.",
    "approved": "Approved and done.",
    "rejected": "Rejected.",
    "token-revoked": "The token is revoked.",
    "bound": "The role is given.",
    "unbound": "The role is taken back.",
    "sent": "The test message is on its way.",
}
"""What a page says after an action, by a word in its URL: no text of anybody's stands there."""
