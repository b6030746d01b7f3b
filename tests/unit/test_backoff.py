from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sds.backoff import Backoff

BACKOFF = Backoff(timedelta(milliseconds=500), timedelta(seconds=30))


def test_it_doubles_up_to_the_longest() -> None:
    delays = [BACKOFF.delay(failures, 1 - 1e-12).total_seconds() for failures in range(1, 10)]
    assert [round(delay, 3) for delay in delays] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_it_is_never_zero_and_never_beyond_the_longest(failures: int, jitter: float) -> None:
    delay = BACKOFF.delay(failures, jitter)
    assert timedelta(milliseconds=250) <= delay <= timedelta(seconds=30)


def test_agents_come_back_at_different_times() -> None:
    assert len({BACKOFF.delay(7, jitter / 10) for jitter in range(10)}) == 10
