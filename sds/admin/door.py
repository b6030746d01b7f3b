"""How callers of a listener become known. This one: the local socket, where the kernel says who asks."""

from __future__ import annotations

import pwd
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import Scope

from sds.admin.access.roles import ALL_RIGHTS, Right
from sds.admin.errors import NotAdmitted, NotAuthenticated, TooManyRequests, WrongHost
from sds.admin.hosts import SAFE, ForeignSite, check_host, check_origin, is_loopback
from sds.admin.services import NOBODY, AdminCall, Caller, local_caller

_MAX_USERS = 1024
_WRONG_HOST = "on its local socket this server is sds, localhost or a loopback address, and no other host"

Bound = Callable[[tuple[str, ...]], Awaitable[tuple[Right, ...]]]
"""The rights that standing bindings give to these subjects."""


class Door(Protocol):
    """One way in. `scope` is ASGI's; nothing of the body has been read."""

    def nobody(self, scope: Scope) -> Caller:
        """Whoever asks, before anything is known of them but where they are."""
        ...

    async def enter(self, scope: Scope, call: AdminCall) -> AdminCall:
        """The call with its caller and their rights, of which there is at least one. Raises NotAdmitted."""
        ...


class DoorObserver(Protocol):
    """Counts what a door refused."""

    def admin_turned_away(self, reason: str) -> None: ...


class Unobserved:
    """Counts nothing."""

    def admin_turned_away(self, reason: str) -> None:
        pass


class CallerLimits(Protocol):
    """How often one caller may ask."""

    def request_of(self, caller_id: str) -> None:
        """Counts a request. Raises TooManyRequests."""
        ...


class Peer(Protocol):
    """The process at the other end, by the kernel (SO_PEERCRED); `sds.http.unix` puts it into the scope."""

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...

    @property
    def pid(self) -> int: ...


def user_name(uid: int) -> str:
    """The login name of `uid`, or ``uid:1000`` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid:{uid}"


async def no_bindings(_subjects: tuple[str, ...]) -> tuple[Right, ...]:
    """Where nobody is bound."""
    return ()


class LocalDoor:
    """`allowed` users may do anything; others what bindings give to ``uid:N``; without credentials nobody enters.

    A browser on an administrator's desk may reach the socket by a tunnel (ssh -L), and then every page in it is sent
    by whoever keeps up the tunnel. So the same counts as on the network:

    1. The request is for this host, and for no name that somebody else's DNS could lead here (DNS rebinding).
    2. What changes something was not sent by a page of another site (Sec-Fetch-Site, Origin).
    3. The caller does not ask too often: but for `allowed`, who must not be kept out when it matters.
    4. The caller has a role.
    """

    def __init__(
        self,
        allowed: frozenset[int],
        limits: CallerLimits,
        bound: Bound = no_bindings,
        observer: DoorObserver | None = None,
    ) -> None:
        self._allowed = allowed
        self._limits = limits
        self._bound = bound
        self._observer = Unobserved() if observer is None else observer
        self._users: dict[int, str] = {}

    def nobody(self, scope: Scope) -> Caller:
        peer: Peer | None = (scope.get("state") or {}).get("peer")
        return NOBODY if peer is None else local_caller(peer.uid, peer.pid, self._user(peer.uid))

    async def enter(self, scope: Scope, call: AdminCall) -> AdminCall:
        headers, peer = Headers(scope=scope), (scope.get("state") or {}).get("peer")
        try:
            host = check_host(headers, is_loopback, _WRONG_HOST)  # 1
            if scope["method"] not in SAFE:
                self._check_origin(headers, host, call)  # 2
            rights = await self._rights(peer, call)  # 3 and 4
        except (NotAdmitted, TooManyRequests) as error:
            self._observer.admin_turned_away(reason_of(error))
            raise
        return replace(call, rights=rights, subjects=(call.caller.id,))

    def _check_origin(self, headers: Headers, host: str, call: AdminCall) -> None:
        """A tunnel may end in TLS of its own. What others send is limited for everybody: each is an audit event."""
        try:
            check_origin(headers, host, ("http", "https"))
        except ForeignSite:
            self._limits.request_of(call.caller.id)
            raise

    async def _rights(self, peer: Peer | None, call: AdminCall) -> tuple[Right, ...]:
        rights: tuple[Right, ...] = ()
        if peer is not None:
            if peer.uid in self._allowed:
                return ALL_RIGHTS
            self._limits.request_of(call.caller.id)
            rights = await self._bound((call.caller.id,))
        if not rights:
            why = "this user may not use the admin API; run it as root or as the server's own user, or be given a role"
            raise NotAdmitted(why, told=f"{call.caller.name} is not allowed")
        return rights

    def _user(self, uid: int) -> str:
        """Looked up once: the user database may be a slow directory."""
        if uid not in self._users:
            if len(self._users) >= _MAX_USERS:
                self._users.clear()
            self._users[uid] = user_name(uid)
        return self._users[uid]


def reason_of(error: Exception) -> str:
    """What a door refused a request for, as metrics have it."""
    match error:
        case WrongHost():
            return "host"
        case ForeignSite():
            return "origin"
        case TooManyRequests():
            return "rate"
        case NotAuthenticated():
            return "credentials"
        case _:
            return "role"
