"""A TLS client certificate in files, which the connection itself has shown."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

from sds.vault.answers import VaultAuth
from sds.vault.auth.files import check_private, file_stamp
from sds.vault.auth.method import Exchange, log_in_at


class ClientCertificate:
    """Implements AuthMethod. `renew`: connections from now on are made with what the files hold now."""

    name = "cert"
    keeps_token = False

    def __init__(self, mount: str, role: str, cert_file: Path, key_file: Path, renew: Callable[[], None]) -> None:
        """`role`: which of Vault's certificate roles; empty: whichever fits."""
        self._mount = mount
        self._role = role
        self._files = (cert_file, key_file)
        self._renew = renew

    def stamp(self) -> Hashable:
        return tuple(map(file_stamp, self._files))

    def login(self, exchange: Exchange) -> VaultAuth:
        check_private(self._files[1], "the client certificate's key file")
        self._renew()
        return log_in_at(exchange, self._mount, {"name": self._role} if self._role else {})
