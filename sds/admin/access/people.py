"""When two callers count as one: whoever answers for a token is who uses it."""

from __future__ import annotations

from collections.abc import Iterable

GROUP = "group:"


def persons(subjects: Iterable[str]) -> frozenset[str]:
    """Subjects that name somebody, without the groups that many belong to."""
    return frozenset(each for each in subjects if not each.startswith(GROUP))


def same_person(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two callers, by their subjects, are one for all that is known.

    One human with two accounts, or root under two users, looks like two: no program can tell.
    """
    return not persons(one).isdisjoint(persons(other))


def answerable(subjects: Iterable[str], caller_id: str) -> str:
    """Who answers for what a caller makes: for an API token, whoever it was made for."""
    return next((each for each in subjects if not each.startswith((GROUP, "token:"))), caller_id)
