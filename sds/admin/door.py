"""How callers of a listener become known. This one: the local socket, where the kernel says who asks."""

from __future__ import annotations

import pwd
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from starlette.types import Scope

from sds.admin.access.roles import ALL_RIGHTS, Right
from sds.admin.errors import NotAdmitted
from sds.admin.services import NOBODY, AdminCall, Caller, local_caller

_MAX_USERS = 1024

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
    """`allowed` users may do anything; others what bindings give to ``uid:N``; without credentials nobody enters."""

    def __init__(self, allowed: frozenset[int], bound: Bound = no_bindings) -> None:
        self._allowed = allowed
        self._bound = bound
        self._users: dict[int, str] = {}

    def nobody(self, scope: Scope) -> Caller:
        peer: Peer | None = (scope.get("state") or {}).get("peer")
        return NOBODY if peer is None else local_caller(peer.uid, peer.pid, self._user(peer.uid))

    async def enter(self, scope: Scope, call: AdminCall) -> AdminCall:
        peer: Peer | None = (scope.get("state") or {}).get("peer")
        subjects = (call.caller.id,)
        rights: tuple[Right, ...] = ()
        if peer is not None:
            rights = ALL_RIGHTS if peer.uid in self._allowed else await self._bound(subjects)
        if not rights:
            why = "this user may not use the admin API; run it as root or as the server's own user, or be given a role"
            raise NotAdmitted(why, told=f"{call.caller.name} is not allowed")
        return replace(call, rights=rights, subjects=subjects)

    def _user(self, uid: int) -> str:
        """Looked up once: the user database may be a slow directory."""
        if uid not in self._users:
            if len(self._users) >= _MAX_USERS:
                self._users.clear()
            self._users[uid] = user_name(uid)
        return self._users[uid]
