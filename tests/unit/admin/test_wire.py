"""Single fields, paths, and strict JSON."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sds.admin.errors import MalformedBody
from sds.admin.strict_json import parse
from sds.admin.wire.common import path_of, problem_of, seconds

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=100, deadline=None)
@given(value=values)
def test_strict_json_reads_what_json_writes(value: Any) -> None:
    for ascii_only in (True, False):
        assert parse(json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")) == value


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=60))
def test_strict_json_raises_nothing_else(body: bytes) -> None:
    with contextlib.suppress(MalformedBody):
        parse(body)


def test_surrogate_pairs_are_text() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ((), ""),
        (("selectors", 2), "selectors[2]"),
        (("entries", 0, "labels", "team"), "entries[0].labels.team"),
        ((3, "x"), "[3].x"),
        (("a b",), "?"),
        (("labels", "x" * 65), "labels.?"),
        (("ключ",), "?"),
    ],
)
def test_paths(location: tuple[Any, ...], path: str) -> None:
    assert path_of(location) == path


@pytest.mark.parametrize(
    ("prefix", "location", "field"),
    [("", (), "body"), ("entries[1]", (), "entries[1]"), ("entries[1]", ("a",), "entries[1].a"), ("a", (0,), "a[0]")],
)
def test_prefixes(prefix: str, location: tuple[Any, ...], field: str) -> None:
    assert problem_of("missing", location, "Field required", prefix).field == field


def test_seconds() -> None:
    assert repr(seconds(timedelta(hours=1))) == "3600"
    assert repr(seconds(timedelta(milliseconds=2500))) == "2.5"
