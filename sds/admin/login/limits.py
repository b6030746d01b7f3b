"""How often callers of the network may ask, and fail. Time is an argument (monotonic seconds)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sds.admin.errors import TooManyRequests
from sds.net.limits import Rate, TokenBuckets, address_key


@dataclass(frozen=True, slots=True)
class DoorRates:
    """`address`: before anybody is known. `caller`: of one who is. `failed`: credentials that do not hold."""

    address: Rate
    caller: Rate
    failed: Rate


class DoorLimits:
    """Token buckets for addresses and callers. Raises TooManyRequests with when to come again."""

    def __init__(self, rates: DoorRates, monotonic: Callable[[], float]) -> None:
        self._rates = rates
        self._monotonic = monotonic
        self._addresses = TokenBuckets(rates.address)
        self._callers = TokenBuckets(rates.caller)
        self._failed = TokenBuckets(rates.failed)
        self._told = TokenBuckets(rates.failed)

    def request_from(self, address: str) -> None:
        if not self._addresses.take(address_key(address), self._monotonic()):
            raise TooManyRequests("too many requests from this address", _wait(self._rates.address))

    def request_of(self, caller_id: str) -> None:
        if not self._callers.take(caller_id, self._monotonic()):
            raise TooManyRequests("too many requests of this caller", _wait(self._rates.caller))

    def may_try(self, address: str) -> None:
        """Before credentials are looked at."""
        if not self._failed.has(address_key(address), self._monotonic()):
            raise TooManyRequests("too many failed logins from this address", _wait(self._rates.failed))

    def failed(self, address: str) -> None:
        self._failed.take(address_key(address), self._monotonic())

    def may_tell(self, address: str) -> bool:
        """Whether one more of those turned away there is an audit event: they must not fill the log. Counted."""
        return self._told.take(address_key(address), self._monotonic())


def _wait(rate: Rate) -> float:
    return max(1.0, 1.0 / rate.per_second)
