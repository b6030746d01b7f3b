"""The budget of requests: whatever comes when, no span of time sees more than burst and rate allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.vault.budget import Budget


def test_a_burst_then_the_rate() -> None:
    budget = Budget.full(10.0, 2.0, 0.0)
    waits = []
    for _ in range(4):
        budget, wait = budget.take(0.0)
        waits.append(wait)
    assert waits == pytest.approx([0.0, 0.0, 0.1, 0.2])


def test_who_would_wait_too_long_takes_no_place() -> None:
    budget = Budget.full(1.0, 1.0, 0.0)
    budget, _ = budget.take(0.0)
    same, wait = budget.take(0.0, 0.5)
    assert (same, wait) == (budget, None)
    _, wait = budget.take(0.6, 0.5)
    assert wait == pytest.approx(0.4)


@given(
    st.floats(0.1, 1000),
    st.integers(1, 100),
    st.lists(st.floats(0, 10), min_size=1, max_size=60),
    st.floats(0, 5),
)
def test_no_span_sees_more_than_is_allowed(rate: float, burst: int, gaps: list[float], longest: float) -> None:
    budget, now, sent = Budget.full(rate, float(burst), 0.0), 0.0, []
    for gap in gaps:
        now += gap
        budget, wait = budget.take(now, longest)
        if wait is not None:
            assert wait <= longest
            sent.append(now + wait)
    assert sent == sorted(sent), "in order"
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            allowed = burst + (sent[last] - sent[first]) * rate
            assert last - first + 1 <= allowed + 1e-6 * max(1.0, allowed) + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 100), st.floats(-100, 0))
def test_a_clock_that_stands_still_gives_nothing(rate: float, burst: int, back: float) -> None:
    budget = Budget.full(rate, float(burst), 0.0)
    for _ in range(burst):
        budget, wait = budget.take(back)
        assert wait == 0.0
    _, wait = budget.take(back)
    assert wait is not None
    assert wait > 0
