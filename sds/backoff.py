"""How long to wait before trying again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, from `shortest` to `longest`."""

    shortest: timedelta
    longest: timedelta

    def delay(self, failures: int, jitter: float) -> timedelta:
        """The pause after the `failures`-th failure in a row (1 is the first).

        Between half and all of the doubled pause, by `jitter` in [0, 1): agents that lost their server at one moment
        must not come back at one moment.
        """
        doubled = self.shortest * (1 << min(max(failures - 1, 0), _MOST_DOUBLINGS))
        return min(doubled, self.longest) * (0.5 + jitter / 2)
