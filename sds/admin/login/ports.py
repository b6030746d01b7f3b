"""What the network's door needs from the server, and the values in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from ca.masked import Masked
from sds.admin.access.roles import Right
from sds.admin.services import AdminCall, Caller

SESSION_COOKIE = "__Host-sds-session"
"""``__Host-``: a browser takes it over TLS alone, for this very host, for every path (RFC 6265bis section 4.1.3.2)."""
LOGIN_COOKIE = "__Host-sds-login"
"""Of a login that is under way at a provider; ties its answer to the browser that began it."""


@dataclass(frozen=True, slots=True)
class Known:
    """A caller who has proved who they are. Without rights they may still be told so.

    `csrf`, `session`: of a login at the pages, else empty; `session` is the hash of its cookie.
    """

    caller: Caller
    rights: tuple[Right, ...]
    subjects: tuple[str, ...]
    csrf: str = field(default="", repr=False)
    session: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that has begun, and the value of its cookie."""

    cookie: Masked[str]
    known: Known
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Departure:
    """A login that goes on at the provider: where to send the browser, and the cookie that it comes back with."""

    location: str
    cookie: Masked[str]
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a browser brought back from the provider. None of it is verified."""

    cookie: str
    state: str
    code: str
    issuer: str
    error: str


class LoginRefused(Exception):
    """These credentials give no session. `why` is for the audit log; the caller is not told."""

    def __init__(self, why: str) -> None:
        super().__init__("the login was refused")
        self.why = why


class NoRole(LoginRefused):
    """Who it is has been proved to us, so they may be told that they have no role here."""


class Credentials(Protocol):
    """Each answers None for credentials that do not hold, and never says why."""

    async def bearer(self, unverified: str) -> Known | None:
        """An API token, or a token of the OpenID provider."""
        ...

    async def session(self, unverified_cookie: str) -> Known | None: ...

    async def certificate(self, unverified_chain: tuple[bytes, ...]) -> Known | None:
        """A chain that a client showed (DER, leaf first): verified anew each time."""
        ...


class LoginAdmin(Protocol):
    """Logins and logouts. Each is an audit event."""

    @property
    def provider(self) -> bool:
        """Whether people can log in at an OpenID provider."""
        ...

    async def with_token(self, call: AdminCall, unverified: str, former_cookie: str) -> Begun:
        """A new session for the holder of an API token; the former one ends. Raises LoginRefused."""
        ...

    async def depart(self, call: AdminCall, then: str) -> Departure:
        """Begin a login at the provider, which leads to the page `then`. Raises LoginRefused."""
        ...

    async def arrive(self, call: AdminCall, arrival: Arrival, former_cookie: str) -> tuple[Begun, str]:
        """End it: a new session, and the page to go on with. Raises LoginRefused, NoRole."""
        ...

    async def logout(self, call: AdminCall, cookie: str, *, everywhere: bool) -> None:
        """End the session, or all of the caller's."""
        ...
