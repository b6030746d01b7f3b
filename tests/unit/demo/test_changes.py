from __future__ import annotations

import pytest

from sds.demo.changes import Change, Changes

EVERY = 3.0


def changes() -> Changes:
    """Two sidecars that use what was there from the start; the clock is started at 0."""
    made = Changes(("front", "back"))
    for name in ("front", "back"):
        made.saw(name, Changes.value(0), 0.0)
    assert not made.due(0.0, EVERY)
    return made


def test_a_change_is_done_when_all_have_used_it() -> None:
    made = changes()
    assert not made.due(2.9, EVERY)
    assert made.due(3.0, EVERY)
    change = made.begin(3.0)
    assert (change.number, change.value) == (1, "key-1")
    made.saw("front", "key-1", 3.5)
    made.saw("front", "key-1", 3.9)
    assert made.last is not None
    assert made.missing(made.last) == ("back",)
    assert not made.due(100.0, EVERY), "the next would overtake it"
    made.saw("back", "key-1", 4.0)
    assert made.done == (Change(1, "key-1", 3.0, {"front": 0.5, "back": 1.0}),)
    assert not made.due(5.9, EVERY)
    assert made.due(6.0, EVERY)
    assert made.begin(6.0).value == "key-2"


def test_an_answer_that_was_overtaken_changes_nothing() -> None:
    made = changes()
    made.begin(3.0)
    made.saw("front", "key-1", 3.5)
    made.saw("front", "key-0", 3.6)
    assert made.in_use == {"front": "key-1", "back": "key-0"}


@pytest.mark.parametrize("arrived", [False, True])
def test_a_value_that_somebody_wrote_is_shown_and_left_alone_for_a_while(arrived: bool) -> None:
    made = changes()
    made.begin(3.0)
    made.saw("front", "key-1", 3.5)
    if arrived:
        made.saw("back", "key-1", 3.5)
    for name in ("front", "back"):
        made.saw(name, "mine", 4.0)
        made.saw(name, "mine", 9.0)
    assert made.in_use == {"front": "mine", "back": "mine"}
    assert len(made.done) == arrived, "one that was overtaken before all used it never will be"
    assert not made.due(16.9, EVERY)
    assert made.due(17.0, EVERY)
    change = made.begin(17.0)
    assert change.value == "key-2"
    for name in ("front", "back"):
        made.saw(name, change.value, 18.0)
    assert made.done[-1].used == {"front": 1.0, "back": 1.0}
