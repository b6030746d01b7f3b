"""Times and names as people read them, and where the bars of a chart stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.admin.pages.charts import Column, Span, bars, share, timeline
from sds.admin.pages.render import query, when
from sds.admin.pages.text import past, plural, relative, short, span, split_id

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"), (0.4, "now"), (-1, "1 s ago"), (59, "in 59 s"), (-61, "1 min 1 s ago"), (-180, "3 min ago"),
        (7200, "in 2 h"), (-9000, "2 h 30 min ago"), (-86400 * 5, "5 d ago"), (86400 * 400, "in 1 y 1 mo"),
    ],
)  # fmt: skip
def test_how_long_ago(seconds: float, text: str) -> None:
    assert relative(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (1, "now"), (5, "now"), (60, "now"), (61, "in 1 min 1 s"), (-1, "1 s ago"), (-3600, "1 h ago")],
)
def test_what_has_happened_is_not_still_to_come(seconds: float, text: str) -> None:
    assert relative(past(NOW + timedelta(seconds=seconds), NOW), NOW) == text


def test_a_time_says_itself_exactly_too() -> None:
    assert str(when("2026-03-01T11:59:00Z", NOW)) == (
        '<time datetime="2026-03-01T11:59:00Z" title="2026-03-01 11:59:00 UTC">1 min ago</time>'
    )
    assert when(None, NOW) == ""


def test_names() -> None:
    assert split_id("spiffe://example.org/a/b") == ("spiffe://example.org", "/a/b")
    assert split_id("group:x") == ("", "group:x")
    assert short("a" * 20, 4) == "aaaa…"
    assert (plural(1, "entry", "entries"), plural(1200, "entry", "entries")) == ("1 entry", "1,200 entries")
    assert query([("a", "x&y"), ("b", ""), ("c", None)]) == "?a=x%26y"
    assert query({}) == ""


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_a_span_is_never_empty(duration: timedelta) -> None:
    assert span(duration)[0].isdigit()


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=80))
def test_bars_stay_within_their_drawing(counts: list[tuple[int, int]]) -> None:
    chart = bars([Column((("", good), ("refused", bad)), "x") for good, bad in counts])
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= chart.width
        assert bar.y >= -3
        assert bar.y + bar.height <= chart.base + 0.02
    assert chart.total == sum(good + bad for good, bad in counts)


@given(
    st.lists(
        st.tuples(st.timedeltas(timedelta(-4000), timedelta(4000)), st.timedeltas(timedelta(0), timedelta(9000))),
        max_size=12,
    )
)
def test_a_timeline_stays_within_its_drawing(pairs: list[tuple[timedelta, timedelta]]) -> None:
    spans = [Span("x", "", NOW + start, NOW + start + length, "t") for start, length in pairs]
    drawn = timeline(spans, NOW)
    assert drawn.left <= drawn.now <= drawn.width
    for line in drawn.lines:
        assert drawn.left <= line.x
        assert line.x + line.width <= drawn.width + 2


def test_a_share() -> None:
    assert (share(0, 0), share(1, 4), share(5, 4)) == (100.0, 25.0, 100.0)
