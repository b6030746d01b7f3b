"""Tables of what is due when. In them an X.509 authority lives 360 days: half is day 180, five sixths are day 300."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.gate import Fleet
from ca.rotation import (
    MAX_SLOTS,
    Activate,
    Blocked,
    Drop,
    KindPolicy,
    Prepare,
    RotationPolicy,
    Step,
    dropped_from,
    plan,
    times,
)
from tests.fakes.clock import EPOCH
from tests.fakes.slots import holder, slot

PREPARED, ACTIVE, OLD = AuthorityState.PREPARED, AuthorityState.ACTIVE, AuthorityState.OLD
X509, JWT = AuthorityKind.X509, AuthorityKind.JWT
DAY, HOUR, MINUTE, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
POLICY = RotationPolicy(
    KindPolicy(lead=5 * DAY, longest=DAY), KindPolicy(lead=HOUR, longest=HOUR, wait=10 * MINUTE), patience=10 * MINUTE
)
KEY = slot(
    "key", ACTIVE, kind=JWT, since=EPOCH - 9_000 * DAY, life=100_000 * DAY
)  # so that the tables see X.509 steps alone
LATE = Fleet((holder("n1", 1),))
READY = Fleet((holder("n1", 2),))


def day(number: float) -> datetime:
    return EPOCH + number * DAY


def brief(step: Step) -> str:
    match step:
        case Prepare():
            return "prepare"
        case Activate():
            return f"activate {step.authority_id}" + (" late" if step.past_deadline else "")
        case Drop():
            return f"drop {step.authority_id}"
        case Blocked():
            return "blocked"


def due(now: datetime, *slots: Authority, fleet: Fleet = LATE, policy: RotationPolicy = POLICY) -> list[str]:
    others = () if any(one.kind is JWT for one in slots) else (KEY,)
    return [brief(step) for step in plan((*slots, *others), fleet, now, policy)]


A = slot("a", ACTIVE)
B = slot("b", PREPARED, since=day(180), sequence=2)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (day(0), []),
        (day(180) - SECOND, []),
        (day(180), ["prepare"]),
        (day(299), ["prepare"]),
        (day(355), ["prepare"]),
        (day(360), ["prepare"]),
        (day(360) + SECOND, ["prepare"]),
        (day(3600), ["prepare"]),
        (day(-100), ["prepare"]),  # a clock that far back: not valid yet, so another one that is
    ],
)
def test_alone(now: datetime, expected: list[str]) -> None:
    assert due(now, A) == expected


@pytest.mark.parametrize(
    ("now", "fleet", "expected"),
    [
        (day(180), READY, []),
        (day(300) - SECOND, READY, []),
        (day(300), READY, ["activate b"]),
        (day(354), READY, ["activate b"]),
        (day(300), LATE, []),
        (day(355) - SECOND, LATE, []),
        (day(355), LATE, ["activate b late"]),
        (day(360), LATE, ["activate b late"]),
        (day(360) + SECOND, LATE, ["activate b late"]),  # expired: at once
        (day(360) + SECOND, READY, ["activate b"]),
        (day(100), READY, []),  # the clock was set back behind the preparation: nothing is undone
        (day(541), LATE, ["prepare", "drop b"]),  # everything has expired
    ],
)
def test_with_the_next_one_prepared(now: datetime, fleet: Fleet, expected: list[str]) -> None:
    assert due(now, A, B, fleet=fleet) == expected


def test_what_it_activates_says_why_with_the_figures_of_the_gate() -> None:
    (ready,) = plan((A, B, KEY), READY, day(300), POLICY)
    assert isinstance(ready, Activate)
    assert (ready.replaces, ready.gate.acked, ready.gate.total, ready.past_deadline) == ("a", 1, 1, False)
    (late,) = plan((A, B, KEY), LATE, day(355), POLICY)
    assert isinstance(late, Activate)
    assert [str(one.agent_id) for one in late.gate.stragglers] == ["spiffe://example.org/sds/agent/n1"]
    assert late.past_deadline


def test_after_a_long_silence_the_fleet_gets_time_even_beyond_the_deadline() -> None:
    made = day(357)
    late = slot("b", PREPARED, since=made, sequence=2)
    assert due(made + 10 * MINUTE - SECOND, A, late) == []
    assert due(made + 10 * MINUTE - SECOND, A, late, fleet=READY) == ["activate b"]
    assert due(made + 10 * MINUTE, A, late) == ["activate b late"]
    # Not longer than half of what the active one has left.
    made = day(360) - 10 * MINUTE
    late = slot("b", PREPARED, since=made, sequence=2)
    assert due(made + 5 * MINUTE - SECOND, A, late) == []
    assert due(made + 5 * MINUTE, A, late) == ["activate b late"]


def test_lives_of_seconds_keep_the_order_of_things() -> None:
    policy = replace(POLICY, x509=KindPolicy(lead=HOUR, longest=HOUR), patience=SECOND)
    short = slot("a", ACTIVE, life=60 * SECOND)
    found = times(short, policy)
    assert found.prepare == EPOCH + 30 * SECOND
    assert found.activate == found.deadline == EPOCH + 45 * SECOND  # half of what is left for the fleet
    following = slot("b", PREPARED, since=EPOCH + 30 * SECOND, life=60 * SECOND, sequence=2)
    assert due(EPOCH + 44 * SECOND, short, following, policy=policy) == []
    assert due(EPOCH + 45 * SECOND, short, following, policy=policy) == ["activate b late"]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("lead", [timedelta(0), DAY, 359 * DAY, 10_000 * DAY])
def test_times_are_in_order_whatever_the_policy(share: float, lead: timedelta) -> None:
    for activate in (share, 0.99):
        policy = replace(POLICY, x509=KindPolicy(lead, DAY), prepare_at=share, activate_at=activate)
        found = times(A, policy)
        assert A.not_before < found.prepare <= found.activate <= found.deadline <= A.not_after


def test_nothing_is_scheduled_where_the_schedule_is_off() -> None:
    off = replace(POLICY, scheduled=False)
    assert due(day(359), A, policy=off) == []
    assert due(day(359), A, B, policy=off, fleet=READY) == []
    assert due(day(361), A, policy=off) == ["prepare"]  # nothing could be issued any more
    assert due(day(361), A, B, policy=off) == ["activate b late"]
    assert due(day(200), replace(A, tainted=True), B, policy=off, fleet=READY) == ["activate b"]


# Nothing can be signed


def test_the_first_start_makes_both_kinds_and_waits_for_nobody() -> None:
    assert due(EPOCH, slot("x", OLD, kind=JWT, revoked=True), fleet=Fleet())[:1] == ["prepare"]
    steps = plan((), Fleet(), EPOCH, POLICY)
    assert steps == (Prepare(X509, "there is no active one"), Prepare(JWT, "there is no active one"))
    first = slot("a", PREPARED)
    assert due(EPOCH, first, fleet=Fleet()) == ["activate a"]
    key = slot("k", PREPARED, kind=JWT)
    assert due(EPOCH, A, key, fleet=Fleet()) == ["activate k"]


def test_a_tainted_one_is_replaced_when_the_gate_opens_or_patience_ends() -> None:
    tainted = replace(A, tainted=True)
    assert due(day(200), tainted) == ["prepare"]
    fresh = slot("b", PREPARED, since=day(200), sequence=2)
    assert due(day(200), tainted, fresh) == []
    assert due(day(200), tainted, fresh, fleet=READY) == ["activate b"]
    assert due(day(200) + 10 * MINUTE, tainted, fresh) == ["activate b late"]
    assert due(day(200), tainted, B) == ["activate b late"]  # the fleet had 20 days


def test_the_tokens_of_a_tainted_key_are_given_their_wait() -> None:
    tainted = slot("k", ACTIVE, kind=JWT, tainted=True)
    following = slot("l", PREPARED, kind=JWT, since=day(200), sequence=2)
    assert due(day(200) + 10 * MINUTE - SECOND, slot("a", ACTIVE, life=900 * DAY), tainted, following) == []
    assert due(day(200) + 10 * MINUTE, slot("a", ACTIVE, life=900 * DAY), tainted, following) == ["activate l"]


def test_a_revoked_one_is_replaced_at_once() -> None:
    revoked = replace(A, revoked=True)
    assert due(day(200), revoked) == ["prepare"]
    fresh = slot("b", PREPARED, since=day(200), sequence=2)
    assert due(day(200), revoked, fresh) == ["activate b late"]
    assert due(day(200), revoked, fresh, fleet=Fleet()) == ["activate b"]


def test_a_clock_that_was_set_back_a_little_starts_nothing() -> None:
    assert due(EPOCH - 10 * MINUTE, A) == []
    assert due(EPOCH - 10 * MINUTE - SECOND, A) == ["prepare"]
    # Made while the clock was years ahead: another one is made, waits for the fleet, and takes over.
    ahead = slot("z", ACTIVE, since=day(5000), sequence=2)
    back = slot("b", PREPARED, since=day(1), sequence=3)
    assert due(day(1), ahead, back, fleet=READY) == []
    assert due(day(1), ahead, back, fleet=Fleet((holder("n1", 3),))) == ["activate b"]
    assert due(day(1) + 10 * MINUTE, ahead, back, fleet=READY) == ["activate b late"]
    future = slot("y", PREPARED, since=day(5000))
    assert due(day(1), ahead, future) == ["prepare"]
    assert due(day(1), ahead, future, back) == ["drop y"]


def test_no_two_clocks_start_a_storm() -> None:
    """Whatever their number and state: beyond so many slots nothing is prepared without being asked."""
    crowd = [slot(f"o{n}", OLD, retired_at=day(359)) for n in range(MAX_SLOTS - 1)]
    assert due(day(300), A, *crowd) == ["blocked"]
    assert due(day(300), A, *crowd[1:]) == ["prepare"]
    assert due(day(359), replace(A, tainted=True), *crowd) == ["blocked"]


# Prepared ones that come to nothing


def test_prepared_ones_that_cannot_be_used_are_dropped() -> None:
    assert due(day(200), A, replace(B, tainted=True)) == ["prepare", "drop b"]
    assert due(day(200), A, replace(B, revoked=True)) == ["prepare", "drop b"]
    assert due(day(200), A, replace(B, not_after=day(199))) == ["prepare", "drop b"]
    newer = slot("c", PREPARED, since=day(190), sequence=3)
    assert due(day(200), A, B, newer) == ["drop b"]


def test_an_upstream_that_expires_is_asked_again_a_few_times_and_not_at_every_look() -> None:
    """Its intermediates cannot outlive it, so nothing that it makes does."""
    made, slots, prepared = day(180), [A], 0
    now = made
    while now < A.not_after:
        steps = due(now, *slots, fleet=Fleet())
        if "prepare" in steps:
            prepared += 1
            slots = [A, slot(f"p{prepared}", PREPARED, since=now, life=A.not_after - now)]
        assert not any(step.startswith("activate") for step in steps)
        if now > day(300) and "prepare" not in steps:
            assert steps == ["blocked"]
        now += HOUR
    assert 5 <= prepared <= 15


# Old ones


@pytest.mark.parametrize(
    ("last_leaf", "expected"),
    [(day(20), day(20)), (day(10), day(15)), (None, day(15)), (day(999), day(360))],
)
def test_an_old_one_goes_with_the_last_certificate_below_it(last_leaf: datetime | None, expected: datetime) -> None:
    old = slot("o", OLD, retired_at=day(15))
    fleet = Fleet(last_leaf={} if last_leaf is None else {"o": last_leaf})
    assert dropped_from(old, fleet, POLICY) == expected + MINUTE
    active = slot("a", ACTIVE, since=day(10), life=900 * DAY)
    assert due(expected + MINUTE - SECOND, old, active, fleet=fleet) == []
    assert due(expected + MINUTE, old, active, fleet=fleet) == ["drop o"]


def test_an_old_key_goes_with_the_last_token_that_it_can_have_signed() -> None:
    old = slot("o", OLD, kind=JWT, retired_at=day(15))
    assert dropped_from(old, Fleet(), POLICY) == day(15) + HOUR + MINUTE
    end = slot("o", OLD, kind=JWT, retired_at=day(360) - MINUTE)
    assert dropped_from(end, Fleet(), POLICY) == day(360) + MINUTE


def test_one_from_before_it_was_noted_when_they_retire() -> None:
    assert dropped_from(slot("o", OLD), Fleet(), POLICY) == day(0) + MINUTE
    assert dropped_from(slot("o", OLD), Fleet(last_leaf={"o": day(3)}), POLICY) == day(3) + MINUTE


def test_tainted_and_revoked_old_ones_stay_as_long_as_others() -> None:
    """Their CRLs and OCSP answers are asked for until the last certificate has expired."""
    active = slot("a", ACTIVE, since=day(10), life=900 * DAY)
    for old in (slot("o", OLD, retired_at=day(15), tainted=True), slot("o", OLD, retired_at=day(15), revoked=True)):
        fleet = Fleet(last_leaf={"o": day(16)})
        assert due(day(16), old, active, fleet=fleet) == []
        assert due(day(16) + MINUTE, old, active, fleet=fleet) == ["drop o"]


def test_a_step_that_was_done_is_due_no_more_and_the_same_look_says_the_same() -> None:
    assert due(day(300), A, B, fleet=READY) == due(day(300), A, B, fleet=READY) == ["activate b"]
    after = replace(A, state=OLD, retired_at=day(300)), replace(B, state=ACTIVE, activated_at=day(300))
    assert due(day(300), *after, fleet=READY) == []
    assert due(day(100), *after, fleet=READY) == ["prepare"]  # the clock far back: forwards, never undone


def test_kinds_do_not_wait_for_each_other() -> None:
    key = slot("k", ACTIVE, kind=JWT, life=10 * HOUR)
    steps = plan((A, B, key), READY, day(300), POLICY)
    assert [(brief(step), step.kind) for step in steps] == [("activate b", X509), ("prepare", JWT)]
