"""The circuit breaker: examples, and that it never lets through more than it should nor shuts for ever."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sds.backoff import Backoff
from sds.vault.breaker import Breaker, BreakerRules

RULES = BreakerRules(failures=3, backoff=Backoff(timedelta(seconds=1), timedelta(seconds=8)), patience=20.0)


def failing(times: int, now: float = 0.0, jitter: float = 0.0) -> Breaker:
    breaker = Breaker(RULES)
    for _ in range(times):
        breaker = breaker.sent(now).failed(now, jitter)
    return breaker


def test_some_failures_are_borne() -> None:
    assert failing(2).admits(0.0)
    assert failing(2).succeeded().failures == 0


def test_it_opens_and_then_lets_one_try() -> None:
    opened = failing(3)
    assert not opened.admits(0.0)
    assert opened.wait(0.0) == 0.5, "half of the first pause, where the jitter is 0"
    assert opened.admits(0.5)
    trying = opened.sent(0.5)
    assert not trying.admits(0.6), "one is enough"
    assert trying.succeeded().closed
    again = trying.failed(1.0, 0.0)
    assert again.wait(1.0) == 1.0, "each pause is twice the one before"


def test_late_answers_of_before_do_not_lengthen_the_pause() -> None:
    opened = failing(3)
    assert opened.failed(0.1, 0.9).opened_until == opened.opened_until
    assert opened.succeeded().closed, "that it has answered is good news, however late"


def test_a_trial_of_which_nothing_is_heard_is_given_up() -> None:
    lost = failing(3).sent(1.0)
    assert not lost.admits(20.9)
    assert lost.admits(21.1)


@given(st.integers(0, 200), st.floats(0, 1, exclude_max=True))
def test_pauses_have_a_bound(failures: int, jitter: float) -> None:
    breaker = Breaker(RULES)
    now = 0.0
    for _ in range(failures):
        now += breaker.wait(now)
        assert breaker.admits(now)
        breaker = breaker.sent(now).failed(now, jitter)
        assert breaker.wait(now) <= 8.0


class Life(RuleBasedStateMachine):
    """Any order of requests, answers and time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(RULES)
        self.now = 0.0
        self.under_way = 0
        self.in_a_row = 0

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def somebody_asks(self) -> None:
        if self.breaker.admits(self.now):
            self.breaker = self.breaker.sent(self.now)
            self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(jitter=st.floats(0, 1, exclude_max=True))
    def it_fails(self, jitter: float) -> None:
        self.under_way -= 1
        self.in_a_row += 1
        self.breaker = self.breaker.failed(self.now, jitter)

    @precondition(lambda self: self.under_way)
    @rule()
    def it_is_answered(self) -> None:
        self.under_way -= 1
        self.in_a_row = 0
        self.breaker = self.breaker.succeeded()

    @invariant()
    def open_exactly_after_failures(self) -> None:
        assert self.breaker.closed == (self.in_a_row < RULES.failures)

    @invariant()
    def never_shut_for_ever(self) -> None:
        assert self.breaker.wait(self.now) <= RULES.patience
        assert self.breaker.admits(self.now + RULES.patience + 0.001)

    @invariant()
    def waiting_helps(self) -> None:
        if self.breaker.wait(self.now) == 0 and self.breaker.trying_since is None:
            assert self.breaker.admits(self.now)


TestLife = Life.TestCase
