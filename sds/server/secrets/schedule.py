"""When a source is asked again whether its secrets have changed. Pure: what is known, and jitter, in; seconds out."""

from __future__ import annotations

from dataclasses import dataclass

SPREAD = 0.1
"""A look comes up to a tenth early, so that neither replicas nor secrets fall into step."""
SHARE = 0.2
"""Of the budget at least this much is for secrets without an interval of their own."""
_LONGEST_BACKOFF = 16  # doublings; more than any interval has


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """`budget`: requests a second that all looks together may cost. `shortest` and `longest` (seconds) bound the
    adaptive interval; `retry` is the first pause after a failure, `patience` the longest.
    """

    budget: float = 50.0
    shortest: float = 1.0
    longest: float = 300.0
    retry: float = 1.0
    patience: float = 60.0


def interval(cost: int, reserved: float, policy: PollPolicy) -> float:
    """How often to look at each, when one look at all of them costs `cost` requests: as often as the budget allows.

    `reserved`: requests a second that go to secrets whose own interval was set.
    """
    room = max(policy.budget - reserved, SHARE * policy.budget)
    return min(max(cost / room, policy.shortest), policy.longest)


def next_look(interval: float, failures: int, jitter: float, policy: PollPolicy) -> float:
    """Seconds until the next look. `failures`: looks in a row that got no answer.

    The pause doubles with each failure and is drawn from its whole upper half, so that all who wait for one server come
    back spread over that time.
    """
    if not failures:
        return interval * (1 - SPREAD * jitter)
    pause = max(interval, retry_pause(failures, policy))
    return pause * (1 - jitter / 2)


def retry_pause(failures: int, policy: PollPolicy) -> float:
    """The longest pause after this many failures in a row."""
    return min(policy.retry * 2.0 ** (min(failures, _LONGEST_BACKOFF) - 1), policy.patience)


def first_look(interval: float, jitter: float) -> float:
    """Seconds until the first look at what was fetched just now: anywhere within the interval."""
    return interval * jitter
