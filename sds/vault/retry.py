"""Whether a request that failed is sent again, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sds.backoff import Backoff
from sds.vault.errors import Replay, VaultUnavailable

_PAUSES = Backoff(timedelta(milliseconds=100), timedelta(seconds=2))


@dataclass(frozen=True, slots=True)
class RetryRules:
    """At most `retries` more times. Whoever is told to come back later than in `longest` seconds is told so instead."""

    retries: int = 2
    backoff: Backoff = _PAUSES
    longest: float = 5.0

    def pause(self, error: VaultUnavailable, failures: int, idempotent: bool, jitter: float) -> float | None:
        """Seconds until the next try after the `failures`-th failure (1 is the first); None: there is none."""
        if failures > self.retries or error.replay is Replay.NEVER:
            return None
        if error.replay is Replay.IF_IDEMPOTENT and not idempotent:
            return None
        pause = self.backoff.delay(failures, jitter).total_seconds()
        if error.retry_after is not None:
            # Everybody is told the same moment: come back spread over the time after it, not before it.
            pause = max(pause, error.retry_after * (1 + jitter / 4))
        return pause if pause <= self.longest else None
