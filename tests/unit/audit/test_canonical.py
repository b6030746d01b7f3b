from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from sds.audit.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    NotCanonical,
    canonical_bytes,
    canonical_json,
    is_one_line,
    parse_event,
)
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target

EVENT = AuditEvent(
    id="0f" * 16,
    time=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    action="entry.create",
    outcome=Outcome.SUCCESS,
    actor=Actor(ActorKind.ADMIN, "uid:0", "unix"),
    target=Target("entry", "e1"),
    reason="because",
    request_id="r1",
    node="server-1",
    details={"b": 2, "a": [1, None, True, {"x": '\u20ac"\\\n\x7f\u2028\U0001f600'}]},
)
BYTES = (
    b'{"action":"entry.create","actor":{"address":"unix","id":"uid:0","kind":"admin"},"details":{"a":[1,null,true,'
    b'{"x":"\xe2\x82\xac\\"\\\\\\n\x7f\xe2\x80\xa8\xf0\x9f\x98\x80"}],"b":2},"id":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",'
    b'"node":"server-1","outcome":"success","reason":"because","request_id":"r1","target":{"id":"e1","kind":"entry"},'
    b'"time":"2026-01-02T03:04:05.000006Z","version":1}'
)

texts = st.text()  # hypothesis leaves half surrogate pairs out of text() by default
names = st.text(st.characters(max_codepoint=127))
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
times = st.datetimes(timezones=st.just(UTC))
events = st.builds(
    AuditEvent,
    id=texts,
    time=times,
    action=texts,
    outcome=st.sampled_from(Outcome),
    actor=st.builds(Actor, st.sampled_from(ActorKind), texts, texts),
    target=st.builds(Target, texts, texts),
    reason=texts,
    request_id=texts,
    node=texts,
    details=st.dictionaries(names, documents, max_size=4),
)


def test_the_bytes_of_an_event() -> None:
    assert canonical_bytes(EVENT) == BYTES
    assert parse_event(BYTES) == EVENT


@given(documents)
@settings(max_examples=300)
def test_equal_to_an_independent_implementation(document: Any) -> None:
    assert canonical_json(document) == rfc8785.dumps(document)


@given(events)
@settings(max_examples=150)
def test_events_are_canonical_and_come_back(event: AuditEvent) -> None:
    written = canonical_bytes(event)
    assert parse_event(written) == event
    assert rfc8785.dumps(json.loads(written)) == written


@pytest.mark.parametrize("code", [*range(0x20), 0x22, 0x5C, 0x7F, 0x80, 0x2028, 0x2029, 0xFFFF, 0x10000])
def test_every_character_that_is_escaped_somewhere(code: int) -> None:
    assert canonical_json(chr(code)) == rfc8785.dumps(chr(code))


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        1.0,
        math.nan,
        math.inf,
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        b"bytes",
        {1: "x"},
        {None: "x"},
        {"\u00e9": "x"},  # UTF-16 order could differ from ours
        {"a": {"\U0001f600": 1}},
        "\ud800",
        {"a": ["\udfff"]},
        {1, 2},
        datetime(2026, 1, 1, tzinfo=UTC),
        object(),
    ],
)
def test_what_has_no_agreed_form_is_refused(value: Any) -> None:
    for attempt in (lambda: canonical_json(value), lambda: canonical_bytes(replace(EVENT, details={"x": value}))):
        with pytest.raises(NotCanonical) as caught:
            attempt()
        assert "\ud800" not in str(caught.value)


def test_half_a_surrogate_pair_anywhere_in_an_event() -> None:
    for changes in ({"reason": "\ud800"}, {"target": Target("x", "\ud800")}, {"action": "\ud800"}):
        with pytest.raises(NotCanonical):
            canonical_bytes(replace(EVENT, **changes))


def test_depth_is_bounded() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert canonical_json(nested) == b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    for deep in ([nested], {"a": nested}):
        with pytest.raises(NotCanonical, match="deeper"):
            canonical_json(deep)
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotCanonical):
        canonical_json(loop)


def test_subclasses_count_as_what_they_are() -> None:
    class Number(IntEnum):
        TWO = 2

    class Text(StrEnum):
        A = "a"

    value = MappingProxyType({Text.A: (Number.TWO, Text.A, True)})
    assert canonical_json(value) == b'{"a":[2,"a",true]}'


def test_times_are_written_in_utc_with_six_digits() -> None:
    whole = replace(EVENT, time=datetime(2026, 1, 1, tzinfo=UTC))
    assert b'"time":"2026-01-01T00:00:00.000000Z"' in canonical_bytes(whole)
    elsewhere = replace(EVENT, time=EVENT.time.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert canonical_bytes(elsewhere) == BYTES
    with pytest.raises(NotCanonical, match="time zone"):
        canonical_bytes(replace(EVENT, time=EVENT.time.replace(tzinfo=None)))


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"{",
        BYTES.replace(b'"version":1', b'"version":2'),
        BYTES.replace(b"success", b"won"),
        BYTES.replace(b'"version":1', b'"version":true'),
        BYTES.replace(b'"version":1', b'"version":"1"'),
        BYTES.replace(b'"details":{', b'"details":{"x":1.5,'),
        BYTES.replace(b'"details":{', b'"details":{"x":NaN,'),
        BYTES.replace(b'"details":{', b'"details":{"x":9007199254740992,'),
        BYTES.replace(b'"details":{', b'"details":{"x":"\\ud800",'),
        BYTES.replace(b'"details":{', b'"details":{"x":' + b"[" * 20 + b"]" * 20 + b","),
        BYTES.replace(b'"details":{', b'"details":{"x":' + b"[" * 90_000 + b"]" * 90_000 + b","),
        BYTES.replace(b'"details":{', b'"details":7,"other":{'),
        BYTES.replace(b'Z","version"', b'+00:00","version"'),
        BYTES.replace(b'Z","version"', b'","version"'),
        BYTES.replace(b'"node":"', b'"node":null,"other":"'),
        BYTES.replace(b'"actor":{', b'"actor":[],"other":{'),
        BYTES.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + BYTES,
        BYTES + b"{}",
    ],
)
def test_other_bytes_are_no_event(junk: bytes) -> None:
    assert junk != BYTES
    with pytest.raises(NotCanonical):
        parse_event(junk)


def test_members_of_later_versions_are_passed_over() -> None:
    assert parse_event(BYTES.replace(b'"details":{', b'"added":[1.0],"details":{').replace(b"[1.0]", b"[1]")) == EVENT


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda at, byte: BYTES[:at] + bytes([byte]) + BYTES[at + 1 :], st.integers(0, len(BYTES)), st.integers(0, 255)
    )
)
def test_whatever_is_taken_for_an_event_can_be_written_again(unverified: bytes) -> None:
    try:
        event = parse_event(unverified)
    except NotCanonical:
        return
    assert parse_event(canonical_bytes(event)) == event
    assert is_one_line(canonical_bytes(event))


@pytest.mark.parametrize(
    "bad", [b"", b"7", b"[]", b'{"a":\n1}', b'{"a":1}\r', b'{"a":NaN}', b"\xff", b'{"a":"\\udfff"}', b"[" * 90_000]
)
def test_what_cannot_stand_in_a_line(bad: bytes) -> None:
    assert not is_one_line(bad)
    assert is_one_line(BYTES)
