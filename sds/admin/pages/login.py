"""The login: the one page that everybody may see. What it sends goes to the handlers of `routes.login`."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit


class LoginPage:
    def __init__(self, provider: Callable[[], bool]) -> None:
        """`provider`: whether people can log in at an OpenID provider."""
        self._provider = provider

    def mount(self, site: Site) -> None:
        site.open("/login", self.show)

    async def show(self, visit: Visit) -> Response:
        failed = (visit.arg("why") or "token") if visit.arg("failed") == "1" else ""
        return visit.page("login.html", failed=failed, then=visit.arg("next"), provider=self._provider())
