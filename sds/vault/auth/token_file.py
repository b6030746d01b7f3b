"""A token in a file, put and replaced there by somebody else, such as Vault Agent."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from sds.vault.answers import VaultAuth
from sds.vault.auth.files import file_stamp, read_secret
from sds.vault.auth.method import Exchange
from sds.vault.call import make_call
from sds.vault.errors import VaultUnavailable


class TokenFile:
    """Implements AuthMethod."""

    name = "token_file"
    keeps_token = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def stamp(self) -> Hashable:
        return file_stamp(self._path)

    def login(self, exchange: Exchange) -> VaultAuth:
        """Look up what the token is good for (auth/token/lookup-self, which the policy `default` allows)."""
        token = read_secret(self._path, "the token file")
        found = exchange(make_call("GET", "auth/token/lookup-self"), token).data
        seconds, renewable, policies = found.get("ttl"), found.get("renewable"), found.get("policies")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0:
            raise VaultUnavailable("Vault does not say how long the token in the file lives")
        names = policies if isinstance(policies, list) else []
        return VaultAuth(
            token,
            str(found.get("accessor") or ""),
            seconds,
            renewable is True,
            tuple(name for name in names if isinstance(name, str)),
        )
