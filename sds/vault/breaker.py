"""The circuit breaker: after several failures in a row nobody asks for a while, then one request tries. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from sds.backoff import Backoff

_PAUSES = Backoff(timedelta(seconds=1), timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """`failures` in a row open it. `patience`: seconds after which a trial that nothing is heard of counts as lost."""

    failures: int = 5
    backoff: Backoff = _PAUSES
    patience: float = 60.0


_RULES = BreakerRules()


@dataclass(frozen=True, slots=True)
class Breaker:
    """Closed (`opened_until` is None), open until then, or half open: one request is under way since `trying_since`.

    Times are those of a monotonic clock, in seconds.
    """

    rules: BreakerRules = _RULES
    failures: int = 0
    openings: int = 0
    opened_until: float | None = None
    trying_since: float | None = None

    @property
    def closed(self) -> bool:
        return self.opened_until is None

    def admits(self, now: float) -> bool:
        """Whether a request may be sent now."""
        if self.opened_until is None:
            return True
        if self.trying_since is not None:
            return now - self.trying_since > self.rules.patience
        return now >= self.opened_until

    def sent(self, now: float) -> Breaker:
        """A request that was admitted is on its way."""
        return self if self.closed else replace(self, trying_since=now)

    def wait(self, now: float) -> float:
        """Seconds until the next request may be sent; at most that of the next trial."""
        if self.opened_until is None:
            return 0.0
        if self.trying_since is not None:
            return max(0.0, self.rules.patience - (now - self.trying_since))
        return max(0.0, self.opened_until - now)

    def succeeded(self) -> Breaker:
        """Vault has answered, whatever it said."""
        return Breaker(self.rules)

    def failed(self, now: float, jitter: float) -> Breaker:
        """Vault has not answered, or said that it cannot."""
        failures = self.failures + 1
        trial = self.trying_since is not None
        if self.closed and failures < self.rules.failures:
            return replace(self, failures=failures)
        if not self.closed and not trial:
            return replace(self, failures=failures)  # of a request that was sent before it opened
        openings = self.openings + 1
        pause = self.rules.backoff.delay(openings, jitter).total_seconds()
        return replace(self, failures=failures, openings=openings, opened_until=now + pause, trying_since=None)
