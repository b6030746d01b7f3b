"""When an endpoint is asked again, for every clock, hint and history."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sds.server.federation.schedule import SPREAD, PollPolicy, interval, next_poll
from tests.fakes.clock import EPOCH

POLICY = PollPolicy(timedelta(seconds=30), timedelta(hours=1), timedelta(seconds=5))
hints = st.timedeltas(timedelta(0), timedelta(days=4000))
jitters = st.floats(0, 1, exclude_max=True)
ages = st.timedeltas(timedelta(0), timedelta(days=30))
moments = st.timedeltas(timedelta(days=-30), timedelta(days=30)).map(lambda span: EPOCH + span)


@given(hints)
def test_the_interval_is_the_hint_within_bounds(hint: timedelta) -> None:
    found = interval(hint, POLICY)
    assert POLICY.shortest <= found <= POLICY.longest
    assert found == hint or (hint < POLICY.shortest) == (found == POLICY.shortest) or found == POLICY.longest


@given(hints, jitters)
def test_an_endpoint_never_asked_is_due_at_once(hint: timedelta, jitter: float) -> None:
    assert next_poll(None, hint, 0, EPOCH, jitter, POLICY) == EPOCH


@given(hints, jitters, ages)
def test_a_good_answer_is_followed_by_about_one_interval(hint: timedelta, jitter: float, age: timedelta) -> None:
    whole = interval(hint, POLICY)
    pause = next_poll(EPOCH, hint, 0, EPOCH + age, jitter, POLICY) - EPOCH
    assert whole * (1 - SPREAD) <= pause <= whole


@given(hints, jitters, st.integers(1, 100_000))
def test_failures_are_repeated_sooner_and_ever_more_seldom(hint: timedelta, jitter: float, failures: int) -> None:
    whole = interval(hint, POLICY)
    pause = next_poll(EPOCH, hint, failures, EPOCH, jitter, POLICY) - EPOCH
    assert min(POLICY.retry, whole) * (1 - SPREAD) <= pause <= whole
    more = next_poll(EPOCH, hint, failures + 1, EPOCH, jitter, POLICY) - EPOCH
    assert more >= pause


@given(moments, hints, st.integers(0, 50), jitters)
def test_no_clock_puts_it_off_for_longer_than_one_interval(tried_at, hint, failures, jitter) -> None:
    """A clock that jumped back leaves tries in the future; they must not silence the poller."""
    due = next_poll(tried_at, hint, failures, EPOCH, jitter, POLICY)
    assert due - EPOCH <= interval(hint, POLICY)


@given(st.lists(st.tuples(ages, st.booleans(), jitters), max_size=60), hints)
def test_whatever_happens_it_is_asked_at_most_once_a_pause(steps, hint) -> None:
    """Any history of ticks: between two tries at least the retry pause passes, and after a good one nearly a whole."""
    now, tried_at, failures = EPOCH, None, 0
    for pause, failed, jitter in steps:
        now += pause
        due = next_poll(tried_at, hint, failures, now, jitter, POLICY)
        if due > now:
            continue
        if tried_at is not None:
            least = POLICY.retry if failures else interval(hint, POLICY)
            assert now - tried_at >= min(least, interval(hint, POLICY)) * (1 - SPREAD)
        tried_at, failures = now, failures + 1 if failed else 0
