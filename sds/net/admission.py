"""Who may connect: caps by user for a Unix socket, rates and caps by address for TCP."""

from __future__ import annotations

from sds.clock import Clock
from sds.net.limits import Caps, TokenBuckets
from sds.net.process import LocalProcess
from sds.net.tcp import TcpPeer


class LocalAdmission:
    """At most so many connections in total and for each user, so that one user's flood leaves room for others."""

    __slots__ = ("_caps",)

    def __init__(self, *, total: int, per_uid: int) -> None:
        self._caps = Caps(total, per_uid)

    def admit(self, peer: LocalProcess) -> str | None:
        """None, "too many connections of this user" or "too many connections"."""
        met = self._caps.acquire(peer.identity.uid)
        if met is None:
            return None
        return "too many connections of this user" if met == "key" else "too many connections"

    def release(self, peer: LocalProcess) -> None:
        self._caps.release(peer.identity.uid)


class AddressAdmission:
    """New connections of one address only so fast (each costs a TLS handshake), and so many open at once."""

    __slots__ = ("_buckets", "_caps", "_clock")

    def __init__(self, buckets: TokenBuckets, *, total: int, per_address: int, clock: Clock) -> None:
        self._buckets = buckets
        self._caps = Caps(total, per_address)
        self._clock = clock

    def admit(self, peer: TcpPeer) -> str | None:
        """None, or which limit the connection met."""
        if not self._buckets.take(peer.key, self._clock.monotonic()):
            return "too many new connections from this address"
        met = self._caps.acquire(peer.key)
        if met is None:
            return None
        return "too many connections from this address" if met == "key" else "too many connections"

    def release(self, peer: TcpPeer) -> None:
        self._caps.release(peer.key)
