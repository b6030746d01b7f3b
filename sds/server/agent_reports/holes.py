"""Which of the events that an agent reports are new, and which are missing: by their numbers. Pure.

An agent numbers what it sees from 1 within one run, also what it has to drop. So whatever is neither here nor was here
before is lost, and can be said by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_RANGES = 20
"""Of one report that are named one by one; of more the first, the last and how many there are."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Numbers that are missing, both ends included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def new_numbers(position: int, numbers: Iterable[int]) -> frozenset[int]:
    """Those behind `position`, the last number that was taken in."""
    return frozenset(number for number in numbers if number > position)


def holes(position: int, numbers: Iterable[int], through: int) -> tuple[Hole, ...]:
    """What is missing behind `position` up to `through`, ascending."""
    found: list[Hole] = []
    expected = position + 1
    for number in sorted(new_numbers(position, numbers)):
        if number > expected:
            found.append(Hole(expected, number - 1))
        expected = number + 1
    if through >= expected:
        found.append(Hole(expected, through))
    return tuple(found)


def named(missing: Sequence[Hole]) -> tuple[str, ...]:
    """The first of them as texts."""
    return tuple(str(one.first) if one.size == 1 else f"{one.first}-{one.last}" for one in missing[:MAX_RANGES])
