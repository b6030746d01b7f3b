"""Pure limits for listeners: a token bucket for each key and a cap on what is open. Time is an argument (seconds)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` events at once, then `per_second` on average."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if self.per_second <= 0 or self.burst < 1:
            raise ValueError("a rate needs per_second above 0 and burst of at least 1")


class TokenBuckets:
    """One token bucket for each key, in a table of at most `max_keys`.

    When the table is full the key that was used least recently is forgotten, and so starts again with a full bucket.
    To make that useless to an attacker who sprays keys, size the table above the number of keys that `per_second`
    times the refill time of one bucket can reach.
    """

    __slots__ = ("_buckets", "_max_keys", "_rate")

    def __init__(self, rate: Rate, max_keys: int = 65536) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # key -> (tokens, when counted)

    def take(self, key: Hashable, now: float) -> bool:
        """Take one token of `key` at `now` (monotonic seconds); False when there is none."""
        tokens, then = self._buckets.pop(key, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + max(0.0, now - then) * self._rate.per_second)
        taken = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if taken else tokens, now)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return taken

    def has(self, key: Hashable, now: float) -> bool:
        """Whether `take` would find one, without taking it."""
        tokens, then = self._buckets.get(key, (float(self._rate.burst), now))
        return tokens + max(0.0, now - then) * self._rate.per_second >= 1.0

    def __len__(self) -> int:
        return len(self._buckets)


class Caps:
    """How much may be open at once: in total, and for each key."""

    __slots__ = ("_by_key", "_per_key", "_total", "_total_cap")

    def __init__(self, total: int, per_key: int) -> None:
        self._total_cap = total
        self._per_key = per_key
        self._total = 0
        self._by_key: dict[Hashable, int] = {}

    def acquire(self, key: Hashable, count: int = 1) -> str | None:
        """Count `count` more for `key`, all or none. None when they fit, else which cap was met: "total" or "key"."""
        held = self._by_key.get(key, 0)
        if held + count > self._per_key:
            return "key"
        if self._total + count > self._total_cap:
            return "total"
        self._by_key[key] = held + count
        self._total += count
        return None

    def release(self, key: Hashable, count: int = 1) -> None:
        """Give back what `acquire` granted."""
        held = self._by_key[key]
        if held == count:
            del self._by_key[key]
        else:
            self._by_key[key] = held - count
        self._total -= count

    @property
    def open(self) -> int:
        """How much is open in total."""
        return self._total

    def held(self, key: Hashable) -> int:
        """How much is open for `key`."""
        return self._by_key.get(key, 0)


def address_key(host: str) -> str:
    """What one host can't change about its address: an IPv4 address, or the /64 of an IPv6 one (RFC 6177)."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
