from __future__ import annotations

from datetime import timedelta

from ca.authority import AuthorityKind, AuthorityState
from ca.gate import Fleet, Lag, judge, published_at
from tests.fakes.clock import EPOCH
from tests.fakes.slots import holder, slot

PREPARED = AuthorityState.PREPARED
NEXT = slot("next", PREPARED, sequence=5)
MINUTE = timedelta(minutes=1)


def test_an_empty_fleet_holds_nothing_up() -> None:
    gate = judge(NEXT, (NEXT,), Fleet(), EPOCH)
    assert gate.open
    assert (gate.total, gate.acked, gate.stragglers, gate.waits_until) == (0, 0, (), None)


def test_it_opens_with_the_last_one_that_has_the_bundle_or_a_newer_one() -> None:
    def gate(*sequences: int) -> tuple[bool, int, int, tuple[str, ...]]:
        fleet = Fleet(tuple(holder(str(n), sequence) for n, sequence in enumerate(sequences)))
        judged = judge(NEXT, (NEXT,), fleet, EPOCH)
        return judged.open, judged.acked, judged.total, judged.reasons

    assert gate(4, 5, 9) == (False, 2, 3, ("1 of 3 have not acknowledged bundle 5",))
    assert gate(5, 5, 9) == (True, 3, 3, ())


def test_those_who_have_all_count_without_being_named() -> None:
    fleet = Fleet((holder("n1", 4),), ahead=9)
    gate = judge(NEXT, (NEXT,), fleet, EPOCH)
    assert (gate.total, gate.acked, gate.reasons) == (10, 9, ("1 of 10 have not acknowledged bundle 5",))
    alone = judge(NEXT, (NEXT,), Fleet(ahead=9), EPOCH)
    assert (alone.open, alone.total, alone.acked) == (True, 9, 9)
    assert Fleet(ahead=1)
    assert fleet
    assert not Fleet()


def test_a_straggler_is_named_with_all_that_is_known_of_it() -> None:
    late = holder(
        "n1",
        4,
        stream_id="s-1",
        lag=Lag.NACKED,
        detail="too large",
        pid=7,
        path="/usr/bin/envoy",
        spiffe_ids=("spiffe://example.org/web",),
        last_seen=EPOCH,
    )
    (straggler,) = judge(NEXT, (NEXT,), Fleet((late,)), EPOCH).stragglers
    assert straggler.agent_id == late.agent_id
    assert (straggler.lag, straggler.detail, straggler.stream_id) == (Lag.NACKED, "too large", "s-1")
    assert (straggler.pid, straggler.path, straggler.spiffe_ids) == (7, "/usr/bin/envoy", ("spiffe://example.org/web",))
    assert (straggler.last_seen, straggler.sequence) == (EPOCH, 4)


def test_where_nothing_is_acknowledged_what_was_sent_counts_after_a_while() -> None:
    sent = Fleet((holder("n1", 5, stream_id="w", settles_at=EPOCH + MINUTE),))
    early = judge(NEXT, (NEXT,), sent, EPOCH + MINUTE - timedelta(microseconds=1))
    assert [one.lag for one in early.stragglers] == [Lag.SETTLING]
    assert judge(NEXT, (NEXT,), sent, EPOCH + MINUTE).open
    older = Fleet((holder("n1", 4, stream_id="w", settles_at=EPOCH),))
    assert [one.lag for one in judge(NEXT, (NEXT,), older, EPOCH + MINUTE).stragglers] == [Lag.NOT_ACKED]


def test_those_who_cannot_acknowledge_get_time_from_the_publication_on() -> None:
    early = judge(NEXT, (NEXT,), Fleet(), EPOCH + MINUTE, wait=5 * MINUTE)
    assert not early.open
    assert early.waits_until == EPOCH + 5 * MINUTE
    assert early.reasons == ("those who cannot acknowledge have until 2026-01-01T00:05:00+00:00 to fetch the bundle",)
    assert judge(NEXT, (NEXT,), Fleet(), EPOCH + 5 * MINUTE, wait=5 * MINUTE).open


def test_for_jwt_authorities_only_the_wait_counts() -> None:
    key = slot("key", PREPARED, kind=AuthorityKind.JWT, sequence=5)
    fleet = Fleet((holder("n1", 1),))
    assert judge(key, (key,), fleet, EPOCH, wait=MINUTE).total == 0
    assert not judge(key, (key,), fleet, EPOCH, wait=MINUTE).open
    assert judge(key, (key,), fleet, EPOCH + MINUTE, wait=MINUTE).open


def test_below_a_root_that_is_known_already_nobody_is_waited_for() -> None:
    first = slot("first", AuthorityState.ACTIVE, sequence=2)
    second = slot("second", PREPARED, since=EPOCH + MINUTE, sequence=2)
    assert published_at(second, (first, second)) == EPOCH
    fleet = Fleet((holder("n1", 2),))
    assert judge(second, (first, second), fleet, EPOCH + MINUTE, wait=MINUTE).open
    # One that was revoked has taken its part of the bundle with it.
    gone = slot("first", AuthorityState.OLD, sequence=2, revoked=True)
    assert published_at(second, (gone, second)) == EPOCH + MINUTE
