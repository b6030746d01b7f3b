"""Lifetimes: the invariants hold for every clock, lifetime and issuer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ca.errors import AuthorityUnavailable
from ca.lifetime import BACKDATE, BACKDATE_SHARE, Validity, clamp, floor_second, renew_at

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
moments = st.integers(0, 70 * 365 * 86400 * 10**6).map(
    lambda n: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
)
seconds = st.integers(1, 400 * 86400).map(lambda n: timedelta(seconds=n))
spans = st.timedeltas(timedelta(0), timedelta(days=1))
jitters = st.floats(0, 1, exclude_max=True)


def issuer(before: timedelta = timedelta(days=1), after: timedelta = timedelta(days=1)) -> Validity:
    return Validity(NOW - before, NOW + after)


@given(now=moments, ttl=seconds, age=spans, left=seconds, backdate=spans, margin=spans, minimum=spans)
def test_clamp(
    now: datetime,
    ttl: timedelta,
    age: timedelta,
    left: timedelta,
    backdate: timedelta,
    margin: timedelta,
    minimum: timedelta,
) -> None:
    above = Validity(floor_second(now - age), floor_second(now + left))
    try:
        validity = clamp(now, ttl, above, backdate=backdate, margin=margin, minimum=minimum)
    except AuthorityUnavailable:
        assert left - margin < ttl + 2 * SECOND  # a long-lived issuer never refuses
        return
    assert above.not_before <= validity.not_before <= now < validity.not_after <= above.not_after - margin
    assert validity.not_after <= now + ttl
    assert validity.not_after - now > min(ttl, minimum) - SECOND
    assert now - validity.not_before < min(backdate, ttl / BACKDATE_SHARE) + SECOND
    assert validity.not_before.microsecond == validity.not_after.microsecond == 0
    assert validity.covers(now)


@given(now=moments, ttl=seconds, jitter=jitters)
def test_a_fresh_certificate_is_never_due_at_once(now: datetime, ttl: timedelta, jitter: float) -> None:
    """Not even one that lives for seconds: backdating must not eat the first half of its life."""
    assume(ttl >= 4 * SECOND)
    validity = clamp(now, ttl, Validity(floor_second(now - timedelta(days=1)), floor_second(now + timedelta(days=800))))
    assert renew_at(validity.not_before, validity.not_after, jitter) > now


@given(start=moments, length=seconds, jitter=jitters)
def test_renewal_is_at_half_life_give_or_take_a_tenth(start: datetime, length: timedelta, jitter: float) -> None:
    at = renew_at(start, start + length, jitter)
    half = length / 2
    tick = timedelta(microseconds=1)
    assert start < start + half * 0.9 - tick <= at <= start + half * 1.1 + tick < start + length


@given(start=moments, length=seconds, one=jitters, two=jitters)
def test_more_jitter_is_later(start: datetime, length: timedelta, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert renew_at(start, start + length, low) <= renew_at(start, start + length, high)


def test_half_jitter_is_exactly_half() -> None:
    assert renew_at(NOW, NOW + timedelta(hours=1), 0.5) == NOW + timedelta(minutes=30)


def test_what_has_no_life_is_due_at_once() -> None:
    assert renew_at(NOW, NOW, 0.9) == NOW
    assert renew_at(NOW, NOW - timedelta(hours=1), 0.9) == NOW


@pytest.mark.parametrize("jitter", [-0.1, 1.0, 2.0, float("nan"), float("inf")])
def test_jitter_outside_its_range(jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        renew_at(NOW, NOW + SECOND, jitter)


def test_an_hour_in_the_ordinary_case() -> None:
    assert clamp(NOW, timedelta(hours=1), issuer()) == Validity(NOW - BACKDATE, NOW + timedelta(hours=1))


def test_never_before_the_issuer() -> None:
    assert clamp(NOW, timedelta(hours=1), issuer(before=3 * SECOND)).not_before == NOW - 3 * SECOND


def test_never_after_the_issuer_less_the_margin() -> None:
    validity = clamp(NOW, timedelta(days=2), issuer(), margin=timedelta(minutes=5))
    assert validity.not_after == NOW + timedelta(days=1) - timedelta(minutes=5)


def test_an_issuer_near_its_end_refuses_with_a_hint() -> None:
    with pytest.raises(AuthorityUnavailable, match="rotate it"):
        clamp(NOW, timedelta(hours=1), issuer(after=timedelta(seconds=59)), minimum=timedelta(minutes=1))


def test_what_ends_by_itself_before_the_minimum_is_still_signed() -> None:
    validity = clamp(NOW, timedelta(seconds=5), issuer(after=timedelta(seconds=30)), minimum=timedelta(minutes=1))
    assert validity.not_after == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("after", [timedelta(0), -SECOND, SECOND / 2])
def test_an_expired_issuer_refuses(after: timedelta) -> None:
    with pytest.raises(AuthorityUnavailable):
        clamp(NOW, timedelta(hours=1), Validity(NOW - timedelta(days=1), floor_second(NOW + after)))


def test_an_issuer_from_the_future_names_the_clock() -> None:
    with pytest.raises(AuthorityUnavailable, match="clock"):
        clamp(NOW, timedelta(hours=1), issuer(before=-SECOND))


@pytest.mark.parametrize("ttl", [2, 4, 5, 10, 30])
def test_seconds_work(ttl: int) -> None:
    """The demo lives on these."""
    validity = clamp(NOW, timedelta(seconds=ttl), issuer(), minimum=timedelta(minutes=1))
    assert validity.not_after == NOW + timedelta(seconds=ttl)
    assert NOW - validity.not_before <= timedelta(seconds=ttl) / BACKDATE_SHARE + SECOND
