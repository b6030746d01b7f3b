"""When a bundle endpoint is asked again. Pure: what is known, and the time, in; the time of the next try out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SPREAD = 0.1
"""A poll comes up to a tenth early, so that neither replicas nor relationships fall into step."""
_LONGEST_BACKOFF = 16  # doublings; more than any interval has


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """`shortest` and `longest` bound what a refresh hint may ask for; `retry` is the first pause after a failure."""

    shortest: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(hours=1)
    retry: timedelta = timedelta(seconds=5)


def interval(refresh_hint: timedelta, policy: PollPolicy) -> timedelta:
    """How often to ask (Federation 4.1): as the bundle hints, within bounds. A hint of 0 asks for the shortest."""
    return min(max(refresh_hint, policy.shortest), policy.longest)


def next_poll(
    tried_at: datetime | None,
    refresh_hint: timedelta,
    failures: int,
    now: datetime,
    jitter: float,
    policy: PollPolicy,
) -> datetime:
    """When to ask again after the try at `tried_at`; at once if there was none.

    `failures`: tries in a row that ended badly; the pause doubles with each and never exceeds the usual interval.
    A try that lies in the future by a clock that has jumped back counts as made now.
    """
    if tried_at is None:
        return now
    pause = interval(refresh_hint, policy)
    if failures:
        pause = min(pause, policy.retry * 2 ** (min(failures, _LONGEST_BACKOFF) - 1))
    return min(tried_at, now) + pause * (1 - SPREAD * jitter)
