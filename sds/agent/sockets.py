"""Every address that the agent listens on, opened at once before anything else is done."""

from __future__ import annotations

import socket
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sds.config import AgentConfig
from sds.net.listen import UnixListener, listen_tcp, listen_unix


@dataclass(frozen=True, slots=True)
class Sockets:
    """Callers may connect from now on; they wait until they are served."""

    public: UnixListener
    admin: UnixListener
    api: UnixListener | None
    health: Sequence[socket.socket]

    def close(self) -> None:
        """Give all addresses up."""
        self.public.close()
        self.admin.close()
        if self.api is not None:
            self.api.close()
        for listening in self.health:
            listening.close()


def open_sockets(config: AgentConfig) -> Sockets:
    """All or none. Raises AddressUnusable."""
    with ExitStack() as undo:
        public = listen_unix(config.socket, mode=config.socket_mode)
        undo.callback(public.close)
        admin = listen_unix(config.admin_socket, mode=0o600)
        undo.callback(admin.close)
        api = None
        if config.api_socket is not None:
            api = listen_unix(config.api_socket, mode=config.socket_mode)
            undo.callback(api.close)
        address = config.health.listen
        health = listen_tcp(address.host, address.port) if address else []
        undo.pop_all()
        return Sockets(public, admin, api, health)


def closed_folder(path: Path, mode: int) -> Path | None:
    """The folder on the way to the socket `path` that only its owner may pass, though `mode` invites others; or None.

    Connecting takes search permission on every folder (path_resolution(7)); what an ACL grants shows in the group bits.
    """
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    folder = path.absolute().parent.resolve()
    for each in reversed([folder, *folder.parents]):
        if not each.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH):
            return each
    return None
