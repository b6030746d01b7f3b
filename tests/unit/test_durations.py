from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.durations import MAX_DURATION, InvalidDuration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1h", 3600),
        ("30m", 1800),
        ("10s", 10),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1d12h", 129600),
        ("1.5h", 5400),
        ("0.3s", 0.3),
        ("0s", 0),
        ("  10s ", 10),
        ("90", 90),
        ("2.5", 2.5),
        (90, 90),
        (0.25, 0.25),
        (timedelta(minutes=2), 120),
    ],
)
def test_reads(value: object, seconds: float) -> None:
    assert parse_duration(value) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "h",
        "1x",
        "1 h",
        "-1s",
        "1h-30m",
        "30m1h",
        "1h1h",
        "1s500",
        "1e3s",
        "\u0661s",
        "infinity",
        "9" * 400 + "s",
        "999999d",
        None,
        True,
        [],
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        10**400,
        timedelta(-1),
    ],
)
def test_refuses(value: object) -> None:
    with pytest.raises(InvalidDuration):
        parse_duration(value)


def test_error_never_repeats_the_value() -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_duration("hunter2")
    assert "hunter2" not in str(caught.value)


@given(st.timedeltas(min_value=timedelta(0), max_value=MAX_DURATION))
def test_format_is_read_back_as_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=365), "365d"),
        (timedelta(milliseconds=1500), "1s500ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=1), "0.001ms"),
        (timedelta(seconds=-5), "-5s"),
    ],
)
def test_format(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text
