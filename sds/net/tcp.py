"""Peers that come over TCP: known by their address until TLS says more."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from sds.net.errors import PeerUnknown
from sds.net.limits import address_key

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))  # seconds, seconds, tries


@dataclass(frozen=True, slots=True)
class TcpPeer:
    """The far end's address. `key` is what limits count by: an IPv4 address or an IPv6 /64."""

    host: str
    port: int
    key: str

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TcpPeers:
    """Reads the peer's address and sets what a long-lived connection of small messages needs."""

    __slots__ = ()

    def acquire(self, sock: socket.socket) -> TcpPeer:
        """Raises PeerUnknown if the peer has gone already."""
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            address = sock.getpeername()
        except OSError:
            raise PeerUnknown("the caller is gone") from None
        return TcpPeer(host=address[0], port=address[1], key=address_key(address[0]))

    def release(self, peer: TcpPeer) -> None:
        """Nothing is held."""

    def watch(self, peer: TcpPeer, gone: Callable[[], None]) -> None:
        """A far process cannot be watched; its connection tells."""

    def unwatch(self, peer: TcpPeer, gone: Callable[[], None]) -> None:
        """See `watch`."""
