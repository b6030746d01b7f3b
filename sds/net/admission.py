"""Who may connect: caps by user for a Unix socket, rates and caps by address for TCP.

A refusal is one of these words, so that it can label a metric: ``rate``, ``per_peer``, ``total``.
"""

from __future__ import annotations

from collections.abc import Hashable

from sds.clock import Clock
from sds.net.limits import Caps, TokenBuckets
from sds.net.process import LocalProcess
from sds.net.tcp import TcpPeer

RATE = "rate"
PER_PEER = "per_peer"
TOTAL = "total"

DESCRIPTORS_PER_CONNECTION = 3
"""The client's, ours to grpcio, and grpcio's; each process behind them takes one more (its pidfd)."""

_RESERVE = 10
"""A share of one in so many of the open files is for users who have few connections."""
_FEW = 16


class _Limits:
    """New connections of one key only so fast, and so many of its and of all open at once."""

    __slots__ = ("_buckets", "_caps", "_clock")

    def __init__(self, buckets: TokenBuckets | None, caps: Caps, clock: Clock) -> None:
        self._buckets = buckets
        self._caps = caps
        self._clock = clock

    def admit(self, key: Hashable) -> str | None:
        if self._buckets is not None and not self._buckets.take(key, self._clock.monotonic()):
            return RATE
        met = self._caps.acquire(key)
        if met is None:
            return None
        return PER_PEER if met == "key" else TOTAL

    def release(self, key: Hashable) -> None:
        self._caps.release(key)

    def held(self, key: Hashable) -> int:
        return self._caps.held(key)


class LocalAdmission:
    """Counts by user, so that one user's flood leaves room for the others, and counts open files.

    `descriptors` is how many open files connections may take up: better to refuse one more than to leave grpcio or
    the logs without any. However few there are, no user takes them all.
    """

    __slots__ = ("_descriptors", "_limits", "_reserve")

    def __init__(
        self, *, total: int, per_uid: int, clock: Clock, descriptors: int, buckets: TokenBuckets | None = None
    ) -> None:
        self._limits = _Limits(buckets, Caps(total, per_uid), clock)
        self._descriptors = descriptors
        self._reserve = descriptors // _RESERVE

    def admit(self, peer: LocalProcess) -> str | None:
        cost = _descriptors_of(peer)
        if cost > self._descriptors:
            return TOTAL
        if cost > self._descriptors - self._reserve and self._limits.held(peer.identity.uid) >= _FEW:
            return PER_PEER
        refusal = self._limits.admit(peer.identity.uid)
        if refusal is None:
            self._descriptors -= cost
        return refusal

    def release(self, peer: LocalProcess) -> None:
        self._limits.release(peer.identity.uid)
        self._descriptors += _descriptors_of(peer)


def _descriptors_of(peer: LocalProcess) -> int:
    """What the first or last connection of a process takes up counts its pidfd, which all of them share."""
    return DESCRIPTORS_PER_CONNECTION + (1 if peer.references == 1 else 0)


class AddressAdmission:
    """Counts by address, because each connection costs a TLS handshake."""

    __slots__ = ("_limits",)

    def __init__(self, buckets: TokenBuckets, *, total: int, per_address: int, clock: Clock) -> None:
        self._limits = _Limits(buckets, Caps(total, per_address), clock)

    def admit(self, peer: TcpPeer) -> str | None:
        return self._limits.admit(peer.key)

    def release(self, peer: TcpPeer) -> None:
        self._limits.release(peer.key)
