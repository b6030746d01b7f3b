"""The door of the network's listener: HTTPS, and whoever can prove who they are."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Scope

from sds.admin.door import DoorObserver, reason_of
from sds.admin.errors import LoginNeeded, NotAdmitted, NotAuthenticated, TooManyRequests
from sds.admin.hosts import SAFE, check_host, check_origin
from sds.admin.login.limits import DoorLimits
from sds.admin.login.ports import SESSION_COOKIE, Credentials, Known
from sds.admin.services import AdminCall, Caller, CallerKind

CSRF_HEADER = "X-CSRF-Token"
_COOKIE_VALUE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_BEARER = 16 * 1024
_UNKNOWN = "these credentials are not known here, or hold no more"
_UNKNOWN_HOST = "this server is not known by that host name"


class NetworkDoor:
    """Lets in API tokens, tokens of the OpenID provider, sessions, and client certificates that are SVIDs.

    1. The request is for a host that this listener is known by, so that no other name leads here (DNS rebinding).
    2. Its address does not ask too often.
    3. What changes something was not sent by a page of another site (Sec-Fetch-Site, Origin).
    4. One kind of credentials counts: a bearer token before a cookie before a certificate. What does not hold is not
       made up for by another kind.
    5. What a cookie vouches for has the session's secret as well: in a header, or in a form, which the guard reads.
    6. The caller does not ask too often, and has a role.

    No header of a proxy is looked at: where a caller is, the listener's relay knows.
    """

    def __init__(
        self,
        credentials: Credentials,
        hosts: frozenset[str],
        limits: DoorLimits,
        address_of: Callable[[str], str],
        observer: DoorObserver,
    ) -> None:
        """`address_of`: the address behind a connection of the relay, by its name."""
        self._credentials = credentials
        self._hosts = hosts
        self._limits = limits
        self._address_of = address_of
        self._observer = observer

    def nobody(self, scope: Scope) -> Caller:
        name = (scope.get("state") or {}).get("connection", "")
        return Caller(CallerKind.UNKNOWN, "", "unknown", self._address_of(name))

    async def enter(self, scope: Scope, call: AdminCall) -> AdminCall:
        headers, address = Headers(scope=scope), call.caller.address
        try:
            host = check_host(headers, self._hosts.__contains__, _UNKNOWN_HOST)  # 1
            self._limits.request_from(address)  # 2
            if scope["method"] not in SAFE:
                check_origin(headers, host, ("https",))  # 3
            known = await self._known(scope, headers, address)  # 4
            if known.csrf and scope["method"] not in SAFE:
                scope["state"]["csrf_due"] = not _has_csrf(headers, known.csrf)  # 5
            self._limits.request_of(known.caller.id)  # 6
        except (NotAdmitted, TooManyRequests) as error:
            self._observer.admin_turned_away(reason_of(error))
            if isinstance(error, NotAdmitted):
                error.told = self._told(error.told, address)
            raise
        caller = replace(known.caller, address=address)
        if not known.rights:
            self._observer.admin_turned_away("role")
            told = self._told("has no role", address)
            raise NotAdmitted("you have no role here; ask an administrator", told=told, caller=caller)
        return replace(call, caller=caller, rights=known.rights, subjects=known.subjects, csrf=known.csrf)

    def _told(self, why: str, address: str) -> str:
        """For the audit log, which nobody whom it does not know is to fill: beyond the rate the metric has them."""
        return why if why and self._limits.may_tell(address) else ""

    async def _known(self, scope: Scope, headers: Headers, address: str) -> Known:
        bearer, cookies = headers.getlist("authorization"), _session_cookies(headers)
        chain: tuple[bytes, ...] = scope["state"].get("client_chain", ())
        if bearer:
            self._limits.may_try(address)
            token = _bearer(bearer)
            known = None if token is None else await self._credentials.bearer(token)
            if known is None:
                self._limits.failed(address)
                raise NotAuthenticated(_UNKNOWN, told="a bearer token that is not known, or holds no more")
            return known
        if cookies:
            known = await self._credentials.session(cookies[0]) if len(cookies) == 1 else None
        else:
            known = await self._credentials.certificate(chain) if chain else None
            if chain and known is None:
                raise NotAuthenticated(_UNKNOWN, told="a client certificate that does not hold")
        if known is None:
            raise self._login_needed(scope, headers)
        return known

    @staticmethod
    def _login_needed(scope: Scope, headers: Headers) -> NotAuthenticated:
        """A browser is led to the login, a program is told."""
        path = str(scope["path"])
        wants_page = "text/html" in headers.get("accept", "")
        if scope["method"] == "GET" and wants_page and not path.startswith("/v1/") and path.isprintable():
            query = scope["query_string"].decode("ascii", "replace")
            return LoginNeeded("log in first", quote(f"{path}?{query}" if query else path, safe=""))
        return NotAuthenticated("credentials are needed", told="")


def _bearer(values: list[str]) -> str | None:
    scheme, _, token = values[0].partition(" ")
    usable = len(values) == 1 and scheme.lower() == "bearer" and 0 < len(token) <= _MAX_BEARER and token.isascii()
    return token if usable else None


def _session_cookies(headers: Headers) -> list[str]:
    """All values of that name; one that no session has counts as well, so that it is not passed over for another."""
    return cookies_of(headers, SESSION_COOKIE)


def cookies_of(headers: Headers, name: str) -> list[str]:
    """Every value of the cookie, in all Cookie headers. What is not of our form is an empty text."""
    found = list[str]()
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            key, equals, value = pair.strip().partition("=")
            if equals and key == name:
                found.append(value if _COOKIE_VALUE.fullmatch(value) else "")
    return found


def _has_csrf(headers: Headers, csrf: str) -> bool:
    given = headers.getlist(CSRF_HEADER)
    return len(given) == 1 and hmac.compare_digest(given[0].encode(), csrf.encode())
