"""Notices over time, by a clock of our own: nobody is told twice, and everybody once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sds.notices.notice import WEBHOOK, Finding, Kind, Notice
from sds.notices.plan import Daily, Every, Mode, delivered, deliveries, failed, reconcile
from sds.notices.recipients import Recipients

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
S, M, H, D = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OPS, TEAM = "ops@example.org", "team@example.org"
AT_EIGHT = Daily(8 * 60)
TO = Recipients(fallback=(OPS,), owners={"team": (TEAM,)})


class Book:
    """What is on record, and what was sent: (recipient, mode, subject, stage, whether it is over)."""

    def __init__(self, to: Recipients = TO, digest: Daily | Every = AT_EIGHT, most: int = 1000) -> None:
        self.to, self.digest, self.most = to, digest, most
        self.rows: dict[str, Notice] = {}
        self.sent: list[tuple[str, Mode, str, int, bool]] = []
        self.left_out = 0
        self._ids = count(1)

    def standing(self) -> list[Notice]:
        return [one for one in self.rows.values() if not one.closed]

    def look(self, now: datetime, *found: Finding, unsure: frozenset[Kind] = frozenset()) -> None:
        done = reconcile(self.standing(), found, self.to, now, lambda: f"n{next(self._ids)}", self.most, unsure)
        self.rows |= {one.id: one for one in (*done.begun, *done.changed)}
        self.left_out = done.left_out
        keys = [one.key for one in self.standing()]
        assert len(set(keys)) == len(keys)

    def send(self, now: datetime, *, pause: timedelta = 5 * M, works: bool = True) -> int:
        last: dict[str, datetime] = {}
        for one in self.rows.values():
            if one.sent_at is not None:
                last[one.recipient] = max(one.sent_at, last.get(one.recipient, one.sent_at))
        due = deliveries(self.standing(), self.to, last, self.digest, pause, now, 500)
        for each in due:
            for one in each.notices:
                current = self.rows[one.id]
                if works:
                    self.rows[one.id] = delivered(current, one, now)
                    self.sent.append((each.recipient, each.mode, one.subject, one.stage, one.ended_at is not None))
                else:
                    self.rows[one.id] = failed(current, "no", one.attempts + 1, now + 10 * M)
        return len(due)


def cert(subject: str = "e1", stage: int = 0, *, urgent: bool = False, owner: str = "", due: datetime = NOW) -> Finding:
    return Finding(Kind.CERTIFICATE, subject, "text", owner, stage, urgent, due)


class TestStages:
    def test_each_stage_is_told_once_and_the_end_too(self) -> None:
        book = Book()
        for stage in (0, 0, 1, 1):
            book.look(NOW, cert(stage=stage, urgent=True))
            book.send(NOW)
            book.send(NOW + M)
            book.send(NOW + H)
        assert [(stage, over) for *_, stage, over in book.sent] == [(0, False), (1, False)]
        book.look(NOW + 2 * H)
        book.send(NOW + 3 * H)
        book.send(NOW + 4 * H)
        assert [over for *_, over in book.sent] == [False, False, True]
        assert book.standing() == []

    def test_what_ends_before_it_was_told_is_never_told(self) -> None:
        book = Book()
        book.look(NOW, cert())
        book.look(NOW + M)
        assert book.standing() == []
        assert book.send(NOW + 2 * D) == 0

    def test_what_comes_back_before_its_end_was_told_says_nothing(self) -> None:
        book = Book()
        book.look(NOW, cert(urgent=True))
        book.send(NOW)
        book.look(NOW + M)
        book.look(NOW + 2 * M, cert(urgent=True))
        assert book.send(NOW + D) == 0

    def test_the_next_case_of_the_same_thing_is_told_anew(self) -> None:
        book = Book()
        book.look(NOW, cert(stage=1, urgent=True))
        book.send(NOW)
        book.look(NOW + H, cert(stage=0, urgent=True, due=NOW + H))
        book.send(NOW + H)
        assert len(book.sent) == 2

    def test_kinds_that_could_not_be_looked_at_stay(self) -> None:
        book = Book()
        book.look(NOW, cert(urgent=True))
        book.send(NOW)
        book.look(NOW + M, unsure=frozenset({Kind.CERTIFICATE}))
        assert [one.ended_at for one in book.standing()] == [None]


class TestWhen:
    @pytest.mark.parametrize(
        ("digest", "now", "slot"),
        [
            (Daily(8 * 60), NOW, NOW.replace(hour=8)),
            (Daily(8 * 60), NOW.replace(hour=8), NOW.replace(hour=8)),
            (Daily(13 * 60), NOW, NOW.replace(hour=13) - D),
            (Every(H), NOW + 59 * M, NOW),
            (Every(D), NOW, NOW.replace(hour=0)),
        ],
    )
    def test_slots(self, digest: Daily | Every, now: datetime, slot: datetime) -> None:
        assert digest.slot(now) == slot

    def test_what_is_not_urgent_waits_for_the_digest_and_comes_in_one_message(self) -> None:
        book = Book()
        book.look(NOW, cert("a"), cert("b"))
        assert book.send(NOW + 19 * H) == 0
        book.look(NOW + 19 * H, cert("a"), cert("b"), cert("c"))
        assert book.send(NOW + 20 * H) == 1
        assert [(mode, subject) for _, mode, subject, *_ in book.sent] == [(Mode.DIGEST, each) for each in "abc"]

    def test_a_digest_that_was_missed_comes_late_and_once(self) -> None:
        book = Book()
        book.look(NOW, cert("a"))
        assert book.send(NOW + 9 * D) == 1
        assert book.send(NOW + 9 * D + M) == 0

    def test_urgent_ones_do_not_wait_but_for_the_pause(self) -> None:
        book = Book()
        book.look(NOW, cert("a", urgent=True), cert("b"))
        assert book.send(NOW) == 1
        book.look(NOW + M, cert("a", urgent=True), cert("b"), cert("c", urgent=True))
        assert book.send(NOW + M) == 0
        assert book.send(NOW + 5 * M) == 1
        assert [subject for _, _, subject, *_ in book.sent] == ["a", "c"]

    def test_a_clock_that_went_back_holds_nothing_up(self) -> None:
        book = Book()
        book.look(NOW, cert("a", urgent=True))
        book.send(NOW)
        book.look(NOW - H, cert("a", urgent=True), cert("b", urgent=True))
        assert book.send(NOW - H) == 1

    def test_who_could_not_be_reached_is_left_alone_until_it_is_time(self) -> None:
        book = Book()
        book.look(NOW, cert("a", urgent=True))
        assert book.send(NOW, works=False) == 1
        book.look(NOW + M, cert("a", urgent=True), cert("b", urgent=True))
        assert book.send(NOW + M) == 0
        assert book.send(NOW + 10 * M) == 1
        assert [subject for _, _, subject, *_ in book.sent] == ["a", "b"]


class TestWhom:
    def test_the_owner_else_the_fallback(self) -> None:
        assert TO.of("team") == (TEAM,)
        assert TO.of("nobody") == (OPS,)
        assert Recipients().of("team") == ("",)
        everything = Recipients((OPS,), {"team": (TEAM,)}, everything=True, webhook=True)
        assert everything.of("team") == (TEAM, OPS, WEBHOOK)

    def test_an_owners_address_counts_in_the_domains_that_are_allowed(self) -> None:
        to = Recipients((OPS,), domains=frozenset({"example.org"}))
        assert to.of("me@example.org") == ("me@example.org",)
        assert to.of("me@EXAMPLE.org") == ("me@EXAMPLE.org",)
        for other in (
            "me@evil.example",
            "me@sub.example.org",
            "a@b@example.org",
            "me@example.org\r\nBcc: x@example.org",
        ):
            assert to.of(other) == (OPS,)
            assert not to.reaches(other)

    def test_what_nobody_is_told_is_on_record_all_the_same(self) -> None:
        book = Book(Recipients())
        book.look(NOW, cert(urgent=True))
        assert book.send(NOW + 9 * D) == 0
        assert len(book.standing()) == 1
        book.look(NOW + H)
        assert book.standing() == []

    def test_who_is_not_configured_any_more_is_told_nothing_more(self) -> None:
        book = Book()
        book.look(NOW, cert(urgent=True))
        book.send(NOW)
        book.to = Recipients(("new@example.org",))
        book.look(NOW + H, cert(urgent=True))
        book.send(NOW + H)
        assert [to for to, *_ in book.sent] == [OPS, "new@example.org"]
        assert [one.recipient for one in book.standing()] == ["new@example.org"]


def test_there_is_a_most_and_what_stands_stays() -> None:
    book = Book(most=3)
    book.look(NOW, *(cert(each) for each in "abc"))
    book.look(NOW, *(cert(each) for each in "0abcd"), cert("x", urgent=True))
    assert sorted(one.subject for one in book.standing()) == ["a", "b", "c"]
    assert book.left_out == 3


def test_what_is_given_up_waits_for_its_next_stage() -> None:
    book = Book()
    book.look(NOW, cert(urgent=True))
    (row,) = book.rows.values()
    book.rows[row.id] = failed(row, "no", 16, None)
    assert book.send(NOW + D) == 0
    book.look(NOW + D, cert(stage=1, urgent=True))
    assert book.send(NOW + D) == 1


def test_an_end_that_was_told_while_it_came_back_is_taken_back() -> None:
    book = Book()
    book.look(NOW, cert(urgent=True))
    book.send(NOW)
    book.look(NOW + H)
    (told,) = book.standing()
    book.look(NOW + H + S, cert(urgent=True))
    (current,) = book.standing()
    after = delivered(current, told, NOW + H + 2 * S)
    assert after.waiting
    assert not after.closed


STEP = st.tuples(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 2), st.booleans()), max_size=3),
    st.sampled_from([S, M, 7 * M, H, 9 * H, D]),
    st.booleans(),
    st.sampled_from(["", "team"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_whatever_happens_nobody_is_told_the_same_twice(steps: Sequence[tuple[dict, timedelta, bool, str]]) -> None:
    """Of one row no stage comes twice, an end comes once and last, and nothing ends that was not told."""
    book, now = Book(), NOW
    log: list[tuple[str, int, bool]] = []
    for states, later, works, owner in steps:
        now += later
        book.look(now, *(cert(each, stage, urgent=urgent, owner=owner) for each, (stage, urgent) in states.items()))
        before = {key: row for key, row in book.rows.items() if row.waiting}
        book.send(now, works=works)
        log += [
            (key, row.stage, row.ended_at is not None)
            for key, row in before.items()
            if works and book.rows[key].sent_at == now and not book.rows[key].waiting
        ]
    for key in book.rows:
        mine = [(stage, over) for row, stage, over in log if row == key]
        stages = [stage for stage, over in mine if not over]
        assert stages == sorted(set(stages))
        assert sum(over for _, over in mine) <= 1
        assert not any(over for _, over in mine[:-1])
        assert not mine or not mine[0][1]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.booleans()), max_size=12),
    st.timedeltas(timedelta(0), 40 * D),
)
def test_in_the_end_everything_that_stands_is_told(states: list[tuple[str, int, bool]], wait: timedelta) -> None:
    book = Book(digest=Every(H))
    found = {each: cert(each, stage, urgent=urgent) for each, stage, urgent in states}
    book.look(NOW, *found.values())
    book.send(NOW + wait)
    book.send(NOW + wait + 2 * H)
    assert {subject for _, _, subject, *_ in book.sent} == set(found)
    assert len(book.sent) == len(found)
