"""Kubernetes and JWT: a signed token that Vault verifies, for one of its roles."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

from ca.masked import Masked
from sds.vault.answers import VaultAuth
from sds.vault.auth.files import file_stamp, read_secret
from sds.vault.auth.method import Exchange, log_in_at


class Kubernetes:
    """The pod's own token, which Kubernetes replaces in its file. Implements AuthMethod."""

    name = "kubernetes"
    keeps_token = False

    def __init__(self, mount: str, role: str, token_file: Path) -> None:
        self._mount = mount
        self._role = role
        self._token_file = token_file

    def stamp(self) -> Hashable:
        return file_stamp(self._token_file)

    def login(self, exchange: Exchange) -> VaultAuth:
        token = read_secret(self._token_file, "the pod's token file", private=False)
        return log_in_at(exchange, self._mount, {"role": self._role, "jwt": token})


class OwnJwt:
    """A JWT-SVID that this server makes for itself, a new one for each login. Implements AuthMethod."""

    name = "jwt"
    keeps_token = False

    def __init__(self, mount: str, role: str, mint: Callable[[], Masked[str]]) -> None:
        """`mint` blocks, and raises CredentialUnusable."""
        self._mount = mount
        self._role = role
        self._mint = mint

    def stamp(self) -> Hashable:
        return ()

    def login(self, exchange: Exchange) -> VaultAuth:
        return log_in_at(exchange, self._mount, {"role": self._role, "jwt": self._mint()})
