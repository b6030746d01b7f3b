from __future__ import annotations

from datetime import timedelta

import pytest

from sds.agent.skew import SkewEstimate
from tests.fakes.clock import EPOCH


def test_half_the_round_trip_is_taken_off() -> None:
    estimate = SkewEstimate()
    estimate.opened(0.2)
    # The server's clock is right; its word took 0.1 s to come.
    assert estimate.observe(EPOCH, EPOCH + timedelta(seconds=0.1)) == pytest.approx(0.0)


@pytest.mark.parametrize("skew", [-90.0, -3.0, 0.0, 3.0, 90.0])
def test_the_sign_is_server_minus_us(skew: float) -> None:
    estimate = SkewEstimate()
    estimate.opened(0.0)
    assert estimate.observe(EPOCH + timedelta(seconds=skew), EPOCH) == pytest.approx(skew)


def test_a_message_that_was_held_up_does_not_count() -> None:
    estimate = SkewEstimate()
    estimate.opened(0.0)
    estimate.observe(EPOCH, EPOCH)
    assert estimate.observe(EPOCH, EPOCH + timedelta(seconds=40)) == pytest.approx(0.0)


def test_a_clock_that_was_set_right_is_noticed_after_some_messages() -> None:
    estimate = SkewEstimate()
    estimate.opened(0.0)
    estimate.observe(EPOCH + timedelta(seconds=60), EPOCH)
    for _ in range(8):
        last = estimate.observe(EPOCH, EPOCH)
    assert last == pytest.approx(0.0)


def test_a_new_connection_starts_anew() -> None:
    estimate = SkewEstimate()
    estimate.opened(0.0)
    estimate.observe(EPOCH + timedelta(seconds=60), EPOCH)
    estimate.opened(-1.0)  # a clock that stood still must not bend anything
    assert estimate.observe(EPOCH, EPOCH) == pytest.approx(0.0)
