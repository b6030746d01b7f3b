"""What is new and what is missing follows from numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.server.agent_reports.holes import MAX_RANGES, Hole, holes, named, new_numbers


@pytest.mark.parametrize(
    ("position", "numbers", "through", "missing"),
    [
        (0, [], 0, []),
        (0, [1, 2], 2, []),
        (0, [], 3, ["1-3"]),
        (0, [2, 5], 7, ["1", "3-4", "6-7"]),
        (4, [3, 4, 5, 7], 7, ["6"]),
        (9, [1, 2], 5, []),
        (5, [], 5, []),
    ],
)
def test_holes(position: int, numbers: list[int], through: int, missing: list[str]) -> None:
    assert list(named(holes(position, numbers, through))) == missing


@given(st.integers(0, 30), st.sets(st.integers(1, 60)), st.integers(0, 60))
def test_every_number_is_old_or_new_or_missing(position: int, numbers: set[int], through: int) -> None:
    missing = [number for hole in holes(position, numbers, through) for number in range(hole.first, hole.last + 1)]
    fresh = new_numbers(position, numbers)
    assert not fresh & set(missing)
    last = max(through, *fresh, position)
    assert fresh | set(missing) == set(range(position + 1, last + 1))


def test_only_the_first_holes_are_named() -> None:
    missing = holes(0, range(2, 200, 2), 200)
    assert len(named(missing)) == MAX_RANGES
    assert missing[0] == Hole(1, 1)
    assert sum(hole.size for hole in missing) == 101
