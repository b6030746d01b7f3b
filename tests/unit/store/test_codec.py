from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.store.codec import chunks, identity_hash, make_cursor, read_cursor, to_json
from sds.store.errors import InvalidCursor
from sds.store.tables import storable
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from tests.contract.store.samples import OTHER_AGENT, spec

aware = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))]))


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.text())
def test_cursors_come_back(number: int, text: str) -> None:
    assert read_cursor(make_cursor(number, text), int, str) == (number, text)


@given(
    st.text()
    | st.binary().map(bytes.hex)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode).map(bytes.hex)
)
def test_any_other_text_is_refused_or_read_but_never_breaks(cursor: str) -> None:
    try:
        number, text = read_cursor(cursor, int, str)
    except InvalidCursor:
        return
    assert isinstance(number, int)
    assert isinstance(text, str)


def test_a_flag_is_no_number() -> None:
    with pytest.raises(InvalidCursor):
        read_cursor(b"[true]".hex(), int)


@given(aware)
def test_times_come_back_to_the_microsecond(time: datetime) -> None:
    assert from_micros(to_micros(time)) == time
    assert from_micros(to_micros(time)).tzinfo is UTC


@given(aware, aware)
def test_times_keep_their_order(one: datetime, two: datetime) -> None:
    assert (to_micros(one) < to_micros(two)) == (one < two)


def test_times_that_are_not_there() -> None:
    assert to_micros_or_none(None) is None
    assert from_micros_or_none(None) is None
    assert from_micros_or_none(to_micros_or_none(datetime(2026, 1, 1, tzinfo=UTC))) == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(TypeError):
        to_micros(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None))


def test_the_identity_of_an_entry_is_its_id_parent_and_selectors() -> None:
    base = spec("/web", "unix:uid:1", "unix:gid:2")
    assert identity_hash(base) == identity_hash(spec("/web", "unix:gid:2", "unix:uid:1", hint="x", owner="y"))
    others = [
        spec("/web2", "unix:uid:1", "unix:gid:2"),
        spec("/web", "unix:uid:1"),
        spec("/web", "unix:uid:1", "unix:gid:2", parent=OTHER_AGENT),
    ]
    # A selector that holds what separates two of them.
    others.append(spec("/web", 'unix:uid:1","unix:gid:2'))
    assert len({identity_hash(item) for item in [base, *others]}) == 5


@given(st.text(st.characters()))
def test_stored_texts_have_no_nul_and_are_utf8(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) == len(text)
    if "\0" not in text and not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert stored == text


def test_json_texts_are_equal_for_equal_values() -> None:
    assert to_json({"b": 1, "a": "\u20ac"}) == to_json({"a": "\u20ac", "b": 1}) == '{"a":"\u20ac","b":1}'


def test_chunks() -> None:
    assert list(chunks("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(chunks("ab", 2)) == [["a", "b"]]
    assert list(chunks("", 2)) == []
