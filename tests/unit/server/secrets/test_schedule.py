"""How often sources are asked: within the budget, never in step, and after an outage spread over time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sds.server.secrets.schedule import PollPolicy, first_look, interval, next_look, retry_pause

POLICY = PollPolicy()
JITTER = st.floats(0, 1, exclude_max=True)


def test_250_secrets_are_looked_at_every_5_seconds() -> None:
    assert interval(250, 0.0, POLICY) == 5.0
    assert interval(1, 0.0, POLICY) == POLICY.shortest
    assert interval(0, 0.0, POLICY) == POLICY.shortest
    assert interval(10_000, 0.0, POLICY) == 200.0


@given(st.integers(1, 100_000), st.floats(0, 1000))
def test_the_budget_is_kept_unless_the_interval_is_at_its_longest(cost: int, reserved: float) -> None:
    pause = interval(cost, reserved, POLICY)
    assert POLICY.shortest <= pause <= POLICY.longest
    if pause < POLICY.longest:
        assert cost / pause <= max(POLICY.budget - reserved, 0.2 * POLICY.budget) + 1e-6


@given(st.floats(1, 300), JITTER)
def test_a_look_is_never_later_than_its_interval(pause: float, jitter: float) -> None:
    assert 0.9 * pause <= next_look(pause, 0, jitter, POLICY) <= pause
    assert 0 <= first_look(pause, jitter) < pause


@given(st.floats(1, 300), st.integers(1, 10_000), JITTER)
def test_a_failure_is_followed_by_a_longer_pause_within_bounds(pause: float, failures: int, jitter: float) -> None:
    after = next_look(pause, failures, jitter, POLICY)
    assert after <= max(pause, POLICY.patience)
    assert after >= max(pause, retry_pause(failures, POLICY)) / 2


def test_pauses_double_up_to_the_patience() -> None:
    assert [retry_pause(n, POLICY) for n in (1, 2, 3, 7, 100)] == [1.0, 2.0, 4.0, 60.0, 60.0]
