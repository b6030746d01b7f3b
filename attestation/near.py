"""Which entries a set of selectors matches, which it nearly matches, and what is missing there. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from attestation.entry import RegistrationEntry
from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class NearEntry:
    """An entry that does not match: the selectors that it asks for and that are not there, and whether its parent is
    another one.
    """

    entry: RegistrationEntry
    missing: tuple[str, ...]
    parent_differs: bool


@dataclass(frozen=True, slots=True)
class Matches:
    """`matching` in the order of the entries; `near` with the least missing first."""

    matching: tuple[RegistrationEntry, ...]
    near: tuple[NearEntry, ...]


def who_gets_what(
    entries: Iterable[RegistrationEntry], parent_id: SpiffeId | None, selectors: Selectors, *, most_near: int
) -> Matches:
    """What `attestation.entry.match` decides, with its reasons.

    An entry is near if at least one of its selectors is there. They are ranked by what is missing (another parent
    counts as one thing), then by how much is there, then by their SPIFFE IDs. One without selectors matches nobody.
    """
    matching: list[RegistrationEntry] = []
    near: list[tuple[int, int, str, str, NearEntry]] = []
    for entry in entries:
        present = len(entry.selectors & selectors)
        if not present:
            continue
        differs = parent_id is not None and entry.parent_id != parent_id
        lacking = len(entry.selectors) - present
        if not lacking and not differs:
            matching.append(entry)
            continue
        miss = NearEntry(entry, (), differs)
        near.append((lacking + differs, -present, str(entry.spiffe_id), entry.id, miss))
    ranked = heapq.nsmallest(most_near, near, key=lambda each: each[:4])
    return Matches(tuple(matching), tuple(_told(each[4], selectors) for each in ranked))


def _told(miss: NearEntry, selectors: Selectors) -> NearEntry:
    """Selectors as texts only for the few that are shown."""
    return NearEntry(miss.entry, tuple(sorted(map(str, miss.entry.selectors - selectors))), miss.parent_differs)
