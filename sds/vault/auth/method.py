"""What an auth method is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from ca.masked import Masked
from sds.vault.answers import VaultAnswer, VaultAuth
from sds.vault.call import Call, make_call
from sds.vault.errors import VaultUnavailable

Exchange = Callable[[Call, Masked[str] | None], VaultAnswer]
"""Sends one request with this token or none. Raises VaultError."""


class AuthMethod(Protocol):
    """Logs in. Everything blocks."""

    name: str
    keeps_token: bool
    """The credential is itself the token: when it changes it is taken at once, and logging in cannot replace it."""

    def stamp(self) -> Hashable:
        """Another value when the files with the credentials have been replaced; never None."""
        ...

    def login(self, exchange: Exchange) -> VaultAuth:
        """Raises VaultError, CredentialUnusable."""
        ...


class CredentialUnusable(Exception):
    """What is to be shown to Vault cannot be had; the message is safe to show."""


def log_in_at(exchange: Exchange, mount: str, body: Mapping[str, Any]) -> VaultAuth:
    """What most methods do."""
    auth = exchange(make_call("POST", f"auth/{mount}/login", body), None).auth
    if auth is None:
        raise VaultUnavailable("Vault has answered a login without a token")
    return auth
