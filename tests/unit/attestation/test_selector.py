from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import InvalidSelector
from attestation.selector import MAX_VALUE_BYTES, Selector, parse_selectors


def test_value_may_hold_colons() -> None:
    selector = Selector.parse("unix:path:/usr/bin/envoy:x")
    assert (selector.type, selector.value) == ("unix", "path:/usr/bin/envoy:x")
    assert str(selector) == "unix:path:/usr/bin/envoy:x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "unix",
        "unix:",
        ":uid:0",
        "unix:a\n",
        "unix:a\0b",
        "un\tix:a",
        "unix:\x1b[31m",
        "unix:\u202eabc",
        "unix:\udcff",
        "x" * 65 + ":a",
        "unix:" + "x" * (MAX_VALUE_BYTES + 1),
        "unix:" + "\u00e4" * (MAX_VALUE_BYTES // 2 + 1),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidSelector):
        Selector.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_read_back_or_refused(text: str) -> None:
    try:
        selector = Selector.parse(text)
    except InvalidSelector:
        return
    assert str(selector) == text
    assert Selector.parse(str(selector)) == selector


def test_sets() -> None:
    assert parse_selectors(["a:1", "a:1", "a:2"]) == frozenset({Selector("a", "1"), Selector("a", "2")})
    with pytest.raises(InvalidSelector):
        parse_selectors(["a:1", "a"])
