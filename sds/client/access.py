"""Who may use the admin API: role bindings and API tokens; and who the caller is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

from sds.client.nouns import Noun, operation
from sds.client.results import Hidden, Labels, Many, Result, Time
from sds.client.transport.connection import part

_TOKENS = "/v1/access/tokens"
_BINDINGS = "/v1/access/bindings"
Role = Literal["viewer", "auditor", "operator", "admin"]


class Right(Result):
    """A role, at or below a SPIFFE ID and with all of these labels; without either it holds for everything."""

    role: str
    below: str | None
    labels: Labels


class ApiToken(Right):
    """What is kept of a token; it itself is not."""

    id: str
    name: str
    created_at: Time
    created_by: str
    expires_at: Time
    last_used_at: Time | None
    revoked_at: Time | None
    bootstrap: bool


class RevokedToken(ApiToken):
    """`dry_run`: nothing was done, and this is how it stands."""

    dry_run: bool = False


class CreatedToken(ApiToken):
    """`token` is shown this once."""

    SECRET: ClassVar[frozenset[str]] = frozenset({"token"})
    token: Hidden


class Binding(Right):
    """`subject`: ``uid:N``, a SPIFFE ID, ``oidc:ISSUER#SUBJECT`` or ``group:NAME``."""

    id: str
    subject: str
    created_at: Time
    created_by: str
    expires_at: Time | None


class DeletedBinding(Binding):
    """What stood. `dry_run`: nothing was done, and it stands."""

    dry_run: bool = False


class WhoAmI(Result):
    """`kind`: how the caller proved who they are. `subjects`: what bindings may call them."""

    kind: str
    id: str
    name: str
    subjects: Many[str]
    rights: Many[Right]


class Access(Noun):
    @operation("access.whoami")
    def whoami(self) -> WhoAmI:
        return self._get(WhoAmI, "/v1/whoami")

    @operation("access.token.list")
    def tokens(self, *, live: bool | None = None, limit: int | None = None) -> Iterator[ApiToken]:
        """`live`: neither expired nor revoked."""
        return self._pages(ApiToken, _TOKENS, "tokens", {"live": live}, limit=limit)

    @operation("access.token.create")
    def create_token(
        self,
        name: str,
        role: Role,
        *,
        below: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: float | None = None,
    ) -> CreatedToken:
        """It cannot do more than whoever makes it. None: the server's own lifetime."""
        body = {"name": name, **_right(role, below, labels)}
        return self._post(CreatedToken, _TOKENS, body if ttl_seconds is None else {**body, "ttl_seconds": ttl_seconds})

    @operation("access.token.bootstrap")
    def bootstrap(self) -> CreatedToken:
        """A token for the first login, on the local socket alone; it ends those that were given out before."""
        return self._post(CreatedToken, f"{_TOKENS}:bootstrap")

    @operation("access.token.revoke")
    def revoke_token(self, token_id: str, *, dry_run: bool = False) -> RevokedToken:
        return self._delete(RevokedToken, f"{_TOKENS}/{part(token_id)}", {"dry_run": dry_run or None})

    @operation("access.binding.list")
    def bindings(self, *, subject: str | None = None, limit: int | None = None) -> Iterator[Binding]:
        return self._pages(Binding, _BINDINGS, "bindings", {"subject": subject}, limit=limit)

    @operation("access.binding.create")
    def create_binding(
        self,
        subject: str,
        role: Role,
        *,
        below: str | None = None,
        labels: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
    ) -> Binding:
        """Nobody can give more than they have."""
        body = {"subject": subject, **_right(role, below, labels)}
        if expires_at is not None:
            body["expires_at"] = expires_at.isoformat()
        return self._post(Binding, _BINDINGS, body)

    @operation("access.binding.delete")
    def delete_binding(self, binding_id: str, *, dry_run: bool = False) -> DeletedBinding:
        """What stood."""
        return self._delete(DeletedBinding, f"{_BINDINGS}/{part(binding_id)}", {"dry_run": dry_run or None})


def _right(role: str, below: str | None, labels: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "role": role,
        **({} if below is None else {"below": below}),
        **({} if not labels else {"labels": dict(labels)}),
    }
