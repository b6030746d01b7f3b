"""Vault's database engine: credentials that are made for one receiver, on a token of their own.

Vault revokes what was leased to a token together with it. So whoever knows the accessor of a token that has asked for
nothing yet can undo whatever is asked for with it later, even if the answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from ca.masked import Masked
from sds.secrets.secret import DatabaseSource
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultDenied, VaultNotFound, VaultRefused, VaultUnavailable

FIRST_TTL = timedelta(minutes=2)
"""Of a token that nothing hangs on yet; one whose accessor was lost ends by itself."""
_LONGER = timedelta(minutes=1)
"""By how much a token outlives what hangs on it."""
_MAX_FIELD = 4096  # characters of a user name or password


class VaultRequests(Protocol):
    """See sds.vault.client.VaultClient."""

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: Masked[str] | None = None,
    ) -> VaultAnswer: ...


@dataclass(frozen=True, slots=True)
class ChildToken:
    """A token that credentials are going to hang on."""

    token: Masked[str] = field(repr=False)
    accessor: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What Vault made. `ttl`: how long they live from when they were asked for, unless they are renewed."""

    username: Masked[bytes] = field(repr=False)
    password: Masked[bytes] = field(repr=False)
    lease_id: str
    ttl: timedelta
    renewable: bool


class DatabaseEngine:
    """`token_role`: the role of Vault's token store that child tokens come from. It has to make orphans: what hangs on
    a child must not end with the server's own token. All methods raise VaultError.
    """

    def __init__(self, vault: VaultRequests, token_role: str) -> None:
        self._vault = vault
        self._token_role = token_role
        self._checked = False

    async def child_token(self, about: Mapping[str, str]) -> ChildToken:
        """A new token that nothing hangs on. `about` is shown by Vault to whoever looks it up."""
        body = {"ttl": _seconds(FIRST_TTL), "renewable": True, "display_name": "sds-lease", "meta": dict(about)}
        answer = await self._vault.request("POST", f"auth/token/create/{self._token_role}", body)
        if answer.auth is None or not answer.auth.accessor:
            raise VaultUnavailable("Vault's answer is not as it should be: it made a token and does not show it")
        child = ChildToken(answer.auth.token, answer.auth.accessor)
        if not self._checked:
            await self._check(child)
        return child

    async def credentials(self, source: DatabaseSource, child: ChildToken) -> Credentials:
        """New ones, which hang on `child`. Its token lives as long as they do when this returns."""
        answer = await self._vault.request("GET", f"{source.mount}/creds/{source.role}", token=child.token)
        ttl = timedelta(seconds=answer.lease_seconds)
        if not answer.lease_id.startswith(lease_prefix(source)) or ttl <= timedelta(0):
            raise VaultRefused(f"{source.mount}/creds/{source.role} leases nothing: is it a role of a database engine?")
        token_ttl = await self._renew_token(child.accessor, ttl)
        return Credentials(
            _text(answer, "username"),
            _text(answer, "password"),
            answer.lease_id,
            min(ttl, token_ttl),
            answer.renewable,
        )

    async def renew(self, accessor: str, lease_id: str, ttl: timedelta) -> timedelta:
        """Ask for `ttl` more; how long the credentials live from now on, which is less where a maximum is near.

        Raises VaultRefused if Vault knows the lease, or the token that it hangs on, no more.
        """
        token_ttl = await self._renew_token(accessor, ttl)
        body = {"lease_id": lease_id, "increment": _seconds(ttl)}
        answer = await self._vault.request("PUT", "sys/leases/renew", body)
        return min(timedelta(seconds=answer.lease_seconds), token_ttl)

    async def revoke(self, accessor: str, lease_id: str) -> None:
        """End the token and all that hangs on it. What is gone already is no error.

        A lease that is known by its ID is revoked first, and at once: with its token alone Vault would only promise to
        do it soon, and forget that it could not.
        """
        if lease_id:
            with suppress(VaultDenied, VaultNotFound):  # then its token has to do
                await self._vault.request("PUT", "sys/leases/revoke", {"lease_id": lease_id, "sync": True})
        await self._vault.request("PUT", "auth/token/revoke-accessor", {"accessor": accessor})

    async def _renew_token(self, accessor: str, ttl: timedelta) -> timedelta:
        """How long what hangs on it may live: the token is asked to live a little longer than `ttl`."""
        body = {"accessor": accessor, "increment": _seconds(ttl + _LONGER)}
        answer = await self._vault.request("PUT", "auth/token/renew-accessor", body)
        if answer.auth is None:
            raise VaultUnavailable("Vault's answer is not as it should be: it renewed a token and does not show it")
        if not answer.auth.lease_seconds:
            return ttl  # it lives for ever
        return timedelta(seconds=answer.auth.lease_seconds)

    async def _check(self, child: ChildToken) -> None:
        """Once: whether the role makes orphans. A child that may not look itself up says nothing."""
        try:
            found = await self._vault.request("GET", "auth/token/lookup-self", token=child.token)
        except VaultDenied:
            self._checked = True
            return
        if found.data.get("orphan") is False:
            with suppress(VaultDenied):
                await self._vault.request("PUT", "auth/token/revoke-accessor", {"accessor": child.accessor})
            raise VaultRefused(
                f"tokens of Vault's token role {self._token_role} end with the server's own, and all credentials with "
                "them: set orphan=true on the role"
            )
        self._checked = True


def lease_prefix(source: DatabaseSource) -> str:
    """What the IDs of all leases of this role begin with."""
    return f"{source.mount}/creds/{source.role}/"


def _text(answer: VaultAnswer, name: str) -> Masked[bytes]:
    value = answer.data.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_FIELD:
        raise VaultRefused(f"the credentials have no {name}: roles for certificates or key pairs are not supported")
    return Masked(value.encode())


def _seconds(time: timedelta) -> str:
    return f"{max(round(time.total_seconds()), 1)}s"
