"""Who may use the admin API: role bindings and API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ca.masked import Masked
from sds.admin.access.roles import Binding, Right
from sds.admin.services.common import AdminCall, Page


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """What token is wanted. `ttl` None: the server's default."""

    name: str
    right: Right
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """An API token without its secret. `created_by` is who answers for it; `last_used_at` is coarse (minutes)."""

    id: str
    name: str
    right: Right
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    bootstrap: bool = False


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """Only its hash is stored, so this is the only time that it can be shown."""

    token: Masked[str]
    info: TokenInfo


@dataclass(frozen=True, slots=True)
class BindingOrder:
    """Which right whom."""

    subject: str
    right: Right
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccessQuery:
    """`subject`: of bindings. `live`: of tokens, whether they are still taken."""

    subject: str | None = None
    live: bool | None = None
    limit: int = 100
    cursor: str | None = None


class AccessAdmin(Protocol):
    """Nobody can give more than they have: Forbidden."""

    async def create_token(self, call: AdminCall, order: TokenOrder) -> CreatedToken:
        """Raises InvalidInput (name, ttl_seconds), Forbidden."""
        ...

    async def bootstrap(self, call: AdminCall) -> CreatedToken:
        """A short-lived token that may do anything, for callers of the local socket; ends earlier ones.

        Raises Forbidden.
        """
        ...

    async def tokens(self, query: AccessQuery) -> Page[TokenInfo]:
        """Oldest first. Raises InvalidCursor."""
        ...

    async def token(self, token_id: str) -> TokenInfo:
        """Raises NotFound."""
        ...

    async def revoke_token(self, call: AdminCall, token_id: str) -> TokenInfo:
        """It is taken no more, from now on, nor are the sessions that it began. Raises NotFound."""
        ...

    async def create_binding(self, call: AdminCall, order: BindingOrder) -> Binding:
        """Raises InvalidInput (subject, expires_at), Forbidden."""
        ...

    async def bindings(self, query: AccessQuery) -> Page[Binding]:
        """Oldest first. Raises InvalidCursor."""
        ...

    async def binding(self, binding_id: str) -> Binding:
        """Raises NotFound."""
        ...

    async def delete_binding(self, call: AdminCall, binding_id: str) -> Binding:
        """Raises NotFound."""
        ...
