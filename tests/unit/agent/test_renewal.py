from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from sds.agent.renewal import Attempt, Facts, Held, Plan, blocked, catch_up, failed, plan, renew_at
from tests.fakes.clock import EPOCH
from tests.unit.agent.entries import entry, held

WARM = timedelta(minutes=10)
NOTHING = Facts({}, {}, {}, (), {}, ())


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def look(facts: Facts, seconds: float = 0.0) -> Plan:
    return plan(facts, at(seconds), WARM)


ONE = replace(NOTHING, entries={"e1": entry()}, used={"e1"})
HELD = replace(ONE, held={"e1": held(entry())})


def test_nothing_wanted_nothing_due() -> None:
    assert look(replace(NOTHING, entries={"e1": entry()})) == Plan((), (), None)


def test_a_caller_without_a_certificate_is_due_at_once() -> None:
    assert look(ONE).due == ("e1",)


def test_what_is_being_asked_for_is_not_asked_for_again() -> None:
    assert look(replace(ONE, busy={"e1"})).due == ()


def test_renewal_at_its_time_and_not_before() -> None:
    assert look(HELD, 1799) == Plan((), (), at(1800))
    assert look(HELD, 1800).due == ("e1",)


def test_a_clock_that_is_set_back_makes_certificates_due_that_were_valid_when_they_came() -> None:
    """Peers whose clocks were set back, too, refuse them until their time comes once more."""
    known = replace(held(entry()), received_at=at(10))
    start = (known.not_before - EPOCH).total_seconds()
    facts = replace(HELD, held={"e1": known})
    assert look(facts, 20).due == ()
    assert look(facts, start - 1).due == ("e1",)
    assert look(facts, start).due == ()
    early = replace(known, received_at=at(start - 60))  # the server's clock is ahead: another would be no better
    assert look(replace(HELD, held={"e1": early}), start - 30).due == ()
    assert look(HELD, start - 1).due == (), "when it came is not known"


def test_what_is_to_be_replaced_before_its_time_is_due_then() -> None:
    facts = replace(HELD, replace_at={"e1": at(700)})
    assert look(facts, 699) == Plan((), (), at(700))
    assert look(facts, 700).due == ("e1",)
    assert look(replace(HELD, replace_at={"e1": at(1900)}), 1800).due == ("e1",), "its own time comes first"
    failing = replace(facts, attempts={"e1": failed(None, timedelta(seconds=5), at(700), "no authority")})
    assert look(failing, 701) == Plan((), (), at(705)), "and it does not storm"


def test_after_an_outage_what_was_to_be_replaced_is_spread_too() -> None:
    facts = replace(HELD, replace_at={"e1": at(700)})
    assert catch_up(facts, at(600), 0.5) == {}
    assert catch_up(facts, at(800), 0.5)["e1"].retry_at == at(815)
    assert catch_up(facts, at(800), 0.5)["e1"].only_spread


def test_a_changed_entry_is_due_at_once_and_what_is_held_stays() -> None:
    for changed in (entry(revision=2, dns=("a.example",)), entry(revision=2, ttl=WARM), entry(revision=2, path="/b")):
        result = look(replace(HELD, entries={"e1": changed}), 10)
        assert (result.due, result.drop) == (("e1",), ())


def test_a_change_that_a_certificate_does_not_show_asks_for_none() -> None:
    changed = entry("e1", "unix:uid:1000", "unix:gid:5", revision=2, hint="x")
    assert look(replace(HELD, entries={"e1": changed}), 10).due == ()


def test_a_deleted_entry_is_dropped_and_never_asked_for() -> None:
    assert look(replace(HELD, entries={}), 10) == Plan((), ("e1",), None)


def test_an_expired_entry_is_dropped_at_its_time() -> None:
    mortal = entry(expires_at=at(100))
    facts = replace(HELD, entries={"e1": mortal}, held={"e1": held(mortal)})
    assert look(facts, 99) == Plan((), (), at(100))
    assert look(facts, 100) == Plan((), ("e1",), None)


def test_after_the_last_caller_left_it_is_kept_warm_and_renewed_for_a_while() -> None:
    facts = replace(HELD, used=(), idle_since={"e1": at(1500)})
    assert look(facts, 1600) == Plan((), (), at(1800))
    assert look(facts, 1900).due == ("e1",)
    assert look(facts, 2100) == Plan((), ("e1",), None)


def test_warmth_asks_for_nothing_that_was_never_held() -> None:
    assert look(replace(ONE, used=(), idle_since={"e1": at(0)}), 10).due == ()


def test_an_expired_certificate_is_asked_for_anew() -> None:
    assert look(HELD, 4000).due == ("e1",)


def test_a_failure_waits_for_its_time() -> None:
    facts = replace(ONE, attempts={"e1": failed(None, timedelta(seconds=5), at(0), "away")})
    assert look(facts, 4) == Plan((), (), at(5))
    assert look(facts, 5).due == ("e1",)


def test_failures_are_counted() -> None:
    first = failed(None, timedelta(seconds=1), at(0), "away")
    assert failed(first, timedelta(seconds=1), at(1), "away").failures == 2


def test_a_refusal_waits_for_another_revision() -> None:
    facts = replace(ONE, attempts={"e1": blocked(None, entry(), "too long")})
    assert look(facts, 10**6) == Plan((), (), None)
    assert look(replace(facts, entries={"e1": entry(revision=2)})).due == ("e1",)


def test_the_urgent_come_first() -> None:
    entries = {name: entry(name) for name in "abcd"}
    facts = replace(
        NOTHING,
        entries=entries,
        used=set(entries),
        held={
            "a": held(entries["a"], life=3600),
            "b": held(entries["b"], life=1800),
            "c": held(entries["c"], life=9000),
        },
    )
    assert look(facts, 2000).due == ("d", "b", "a")


def test_catching_up_those_with_nothing_ask_soon_and_the_others_spread() -> None:
    entries = {name: entry(name) for name in ("missing", "due", "fresh", "refused", "idle")}
    facts = Facts(
        entries=entries,
        held={"due": held(entries["due"], life=600), "fresh": held(entries["fresh"], start=at(290))},
        attempts={
            "missing": failed(None, timedelta(seconds=30), at(290), "away"),
            "refused": blocked(None, entries["refused"], "no"),
        },
        used={"missing", "due", "fresh", "refused"},
        idle_since={},
        busy=(),
    )
    changed = catch_up(facts, at(300), 0.5)
    assert set(changed) == {"missing", "due"}
    assert changed["missing"].retry_at == at(300.5)
    assert changed["due"].retry_at == at(315)
    assert catch_up(facts, at(580), 0.5)["due"].retry_at == at(582.5), "never so late that it expires"


@given(st.floats(0, 0.5), st.floats(0, 1, exclude_max=True), st.integers(1, 10**7))
def test_renewal_is_about_half_life(share: float, jitter: float, life: int) -> None:
    due = (renew_at(at(0), at(life), share, jitter) - at(0)).total_seconds()
    assert life / 2 * (1 - share) - 1e-3 <= due <= life / 2 * (1 + share) + 1e-3


NAMES = ("a", "b", "c")
TIMES = st.integers(-4000, 8000).map(at)
ENTRIES = st.builds(
    lambda name, revision, dns, expiry: entry(name, revision=revision, dns=dns, expires_at=expiry),
    st.sampled_from(NAMES),
    st.integers(1, 3),
    st.sampled_from([(), ("x.example",)]),
    st.none() | TIMES,
)
ATTEMPTS = st.builds(Attempt, st.integers(0, 5), st.none() | TIMES, st.none() | st.integers(1, 3), st.just("because"))


@st.composite
def facts_strategy(draw: st.DrawFn) -> Facts:
    entries = {e.id: e for e in draw(st.lists(ENTRIES, max_size=3))}
    held_entries = {e.id: e for e in draw(st.lists(ENTRIES, max_size=3))}
    return Facts(
        entries=entries,
        held={name: held(e, start=draw(TIMES), life=draw(st.integers(10, 4000))) for name, e in held_entries.items()},
        attempts=draw(st.dictionaries(st.sampled_from(NAMES), ATTEMPTS, max_size=3)),
        used=draw(st.sets(st.sampled_from(NAMES))),
        idle_since=draw(st.dictionaries(st.sampled_from(NAMES), TIMES, max_size=3)),
        busy=draw(st.sets(st.sampled_from(NAMES))),
        replace_at=draw(st.dictionaries(st.sampled_from(NAMES), TIMES, max_size=3)),
    )


@settings(max_examples=300)
@given(facts_strategy(), TIMES)
def test_what_always_holds(facts: Facts, now: datetime) -> None:
    result = plan(facts, now, WARM)
    assert set(result.due) <= set(facts.entries) - set(facts.busy)
    assert not set(result.due) & set(result.drop)
    assert set(result.drop) <= set(facts.held)
    for name in result.due:
        assert facts.entries[name].live(now)
        attempt = facts.attempts.get(name, Attempt())
        if attempt.blocked_revision is not None:
            assert attempt.blocked_revision != facts.entries[name].revision
        else:
            assert attempt.retry_at is None or attempt.retry_at <= now
        present: Held | None = facts.held.get(name)
        if present is not None and present.entry.issues_like(facts.entries[name]):
            assert min(present.renew_at, present.not_after, facts.replace_at.get(name, present.renew_at)) <= now
    for name in facts.used:
        if name in facts.entries and facts.entries[name].live(now):
            assert name not in result.drop
    assert result.next_look is None or result.next_look > now


@settings(max_examples=300)
@given(facts_strategy(), TIMES)
def test_nothing_happens_before_the_next_look(facts: Facts, now: datetime) -> None:
    """Sleeping until `next_look` misses nothing."""
    first = plan(facts, now, WARM)
    calm = replace(facts, busy={*facts.busy, *first.due}, held=dict(facts.held))
    for name in first.drop:
        del calm.held[name]  # type: ignore[attr-defined]
    until = first.next_look or now + timedelta(days=1)
    for share in (0.1, 0.5, 0.999):
        between = plan(calm, now + (until - now) * share, WARM)
        assert between.due == ()
        assert between.drop == ()
