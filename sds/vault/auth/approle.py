"""AppRole: a role ID, and a secret ID in a file, which may be response-wrapped."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from ca.masked import Masked
from sds.vault.answers import VaultAuth
from sds.vault.auth.files import file_stamp, read_secret
from sds.vault.auth.method import CredentialUnusable, Exchange, log_in_at
from sds.vault.call import make_call
from sds.vault.errors import VaultDenied, VaultRefused


@dataclass(frozen=True, slots=True)
class AppRoleConfig:
    """`role_id` is no secret by itself. `wrapped`: the file holds the token that the secret ID is wrapped in."""

    mount: str
    role_id: str
    secret_id_file: Path
    wrapped: bool = False


class AppRole:
    """Implements AuthMethod. A wrapped secret ID can be unwrapped once, and is kept in memory for later logins."""

    name = "approle"
    keeps_token = False

    def __init__(self, config: AppRoleConfig) -> None:
        self._config = config
        self._unwrapped: Masked[str] | None = None
        self._unwrapped_from: Hashable = None

    def stamp(self) -> Hashable:
        return file_stamp(self._config.secret_id_file)

    def login(self, exchange: Exchange) -> VaultAuth:
        secret_id = self._secret_id(exchange)
        return log_in_at(exchange, self._config.mount, {"role_id": self._config.role_id, "secret_id": secret_id})

    def _secret_id(self, exchange: Exchange) -> Masked[str]:
        config = self._config
        stamp = self.stamp()
        if self._unwrapped is not None and stamp == self._unwrapped_from:
            return self._unwrapped
        found = read_secret(config.secret_id_file, "the secret ID file")
        if not config.wrapped:
            return found
        self._unwrapped, self._unwrapped_from = self._unwrap(exchange, found), stamp
        return self._unwrapped

    def _unwrap(self, exchange: Exchange, wrapping: Masked[str]) -> Masked[str]:
        """Only what this role's own endpoint has wrapped: anybody can wrap something of his own."""
        try:
            origin = exchange(make_call("POST", "sys/wrapping/lookup", {"token": wrapping}), None).data
        except (VaultRefused, VaultDenied):
            raise CredentialUnusable(
                "the wrapped secret ID was unwrapped before or is too old; if it was not by this server, "
                "somebody else has it: destroy it, and put a new one into the file"
            ) from None
        path = str(origin.get("creation_path") or "")
        if not (path.startswith(f"auth/{self._config.mount}/role/") and path.endswith("/secret-id")):
            raise CredentialUnusable("what the wrapping token holds was not made as a secret ID of this auth method")
        secret_id = exchange(make_call("POST", "sys/wrapping/unwrap"), wrapping).data.get("secret_id")
        if not isinstance(secret_id, str) or not secret_id:
            raise CredentialUnusable("what was unwrapped is no secret ID")
        return Masked(secret_id)
