"""/login and /logout: how people begin and end a session. The pages are around it; each answer here leads to one."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl, quote

from fastapi import FastAPI, Query
from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sds.admin.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType
from sds.admin.login.flow import HOME, own_path
from sds.admin.login.limits import DoorLimits
from sds.admin.login.network import cookies_of
from sds.admin.login.ports import LOGIN_COOKIE, SESSION_COOKIE, Arrival, Begun, LoginAdmin, LoginRefused, NoRole
from sds.admin.routes.common import Call
from sds.admin.wire.common import Input

MAX_FORM = 256 * 1024
MAX_FIELDS = 500
PROVIDER, ROLE = "provider", "role"
"""What the login's page is told in `why`: the login at the provider did not end well; who logged in has no role."""
_FORM = "application/x-www-form-urlencoded"
Text = Annotated[str, Query(max_length=4096)]


class Then(Input):
    """`next`: the page that the login leads to; what is no path of this server leads to the first page."""

    next: Annotated[str, Query(max_length=2048)] = HOME


class Callback(Input):
    """What a provider sends (OpenID Connect Core 3.1.2.5, RFC 6749 4.1.2.1, RFC 9207); it may send more."""

    model_config = ConfigDict(extra="ignore")

    code: Text = ""
    state: Text = ""
    iss: Text = ""
    error: Text = ""


class LoginRoutes:
    """`limits`: the door's, so that failed logins count with whatever else fails from there."""

    def __init__(self, login: LoginAdmin, limits: DoorLimits) -> None:
        self._login = login
        self._limits = limits

    def mount(self, app: FastAPI) -> None:
        app.post("/login", operation_id="session.login", include_in_schema=False)(self.login)
        app.get("/login/oidc", operation_id="session.login.oidc", include_in_schema=False)(self.depart)
        app.get("/login/callback", operation_id="session.login.callback", include_in_schema=False)(self.arrive)
        app.post("/logout", operation_id="session.logout", include_in_schema=False)(self.logout)

    async def login(self, request: Request, call: Call) -> Response:
        """Form fields `token` and `next`. Leads to the page, or back to the login, which is told ``failed=1``."""
        form = await read_form(request)
        self._limits.may_try(call.caller.address)
        then = own_path(form.get("next", HOME))
        try:
            begun = await self._login.with_token(call, form.get("token", "").strip(), _session(request))
        except LoginRefused:
            return self._failed(call.caller.address, then)
        return _started(begun, then)

    async def depart(self, call: Call, query: Annotated[Then, Query()]) -> Response:
        self._limits.may_try(call.caller.address)
        try:
            departure = await self._login.depart(call, own_path(query.next))
        except LoginRefused:
            return self._failed(call.caller.address, own_path(query.next), PROVIDER)
        answer = _to(departure.location)
        _set(answer, LOGIN_COOKIE, departure.cookie.reveal(), int(departure.lifetime.total_seconds()))
        return answer

    async def arrive(self, request: Request, call: Call, query: Annotated[Callback, Query()]) -> Response:
        self._limits.may_try(call.caller.address)
        cookie = request.cookies.get(LOGIN_COOKIE, "")
        arrival = Arrival(cookie, query.state, query.code, query.iss, query.error)
        try:
            begun, then = await self._login.arrive(call, arrival, _session(request))
        except LoginRefused as error:
            answer = self._failed(call.caller.address, HOME, ROLE if isinstance(error, NoRole) else PROVIDER)
        else:
            answer = _started(begun, then)
        _clear(answer, LOGIN_COOKIE)
        return answer

    async def logout(self, request: Request, call: Call) -> Response:
        """Form field `everywhere`: all sessions of the caller. Needs the session's CSRF secret, as every form does."""
        form = await read_form(request)
        cookie = _session(request)
        if cookie and call.csrf:
            await self._login.logout(call, cookie, everywhere=bool(form.get("everywhere")))
        answer = _to("/login")
        _clear(answer, SESSION_COOKIE)
        answer.headers["Clear-Site-Data"] = '"cache", "storage"'
        return answer

    def _failed(self, address: str, then: str, why: str = "") -> Response:
        self._limits.failed(address)
        return _to(f"/login?failed=1{why and f'&why={why}'}&next={quote(then, safe='')}")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that is there twice the last. Raises UnsupportedMediaType, BodyTooLarge."""
    declared = request.headers.get("content-type", "")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise BodyTooLarge(f"the form is larger than {MAX_FORM} bytes")
    if not body:
        return {}
    if declared.split(";")[0].strip().lower() != _FORM:
        raise UnsupportedMediaType("a form was expected")
    try:
        text = bytes(body).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError:
        raise MalformedBody("the form cannot be read") from None


def _session(request: Request) -> str:
    """The cookie of the session that this browser had, to end it; "" where there is none, or more than one."""
    found = cookies_of(request.headers, SESSION_COOKIE)
    return found[0] if len(found) == 1 else ""


def _started(begun: Begun, then: str) -> Response:
    answer = _to(then)
    _set(answer, SESSION_COOKIE, begun.cookie.reveal(), int(begun.lifetime.total_seconds()))
    return answer


def _to(location: str) -> Response:
    return RedirectResponse(location, status_code=303)


def _set(answer: Response, name: str, value: str, seconds: int) -> None:
    """Lax and not Strict: who follows a link of a notice into the pages is to find the session."""
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def _clear(answer: Response, name: str) -> None:
    answer.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
