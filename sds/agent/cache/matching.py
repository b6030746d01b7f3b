"""Who could match whom: entries and groups, each found by its selectors instead of looked through.

What is found here could match; `attestation.entry.match` judges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attestation.entry import RegistrationEntry
from attestation.selector import Selector, Selectors
from sds.agent.cache.group import Group


class EntryIndex:
    """Entries, each under one of its selectors: who lacks that one has no use for the entry.

    Under the selector that the fewest others are under, so that what all have in common finds little.
    """

    __slots__ = ("_entries", "_under")

    def __init__(self) -> None:
        self._entries: dict[Selector, dict[str, RegistrationEntry]] = {}  # the inner one by ID
        self._under: dict[str, Selector] = {}

    def put(self, entry: RegistrationEntry) -> None:
        """Add it, or replace the former one with its ID. One without selectors is for nobody and is not kept."""
        self.discard(entry.id)
        if entry.selectors:
            rarest = min(entry.selectors, key=lambda selector: (len(self._entries.get(selector, ())), selector))
            self._entries.setdefault(rarest, {})[entry.id] = entry
            self._under[entry.id] = rarest

    def discard(self, entry_id: str) -> None:
        """Forget it, if it is there."""
        selector = self._under.pop(entry_id, None)
        if selector is not None:
            entries = self._entries[selector]
            del entries[entry_id]
            if not entries:
                del self._entries[selector]

    def near(self, selectors: Selectors) -> Iterator[RegistrationEntry]:
        """All that a caller with `selectors` can match, each once, and some that it does not."""
        return (entry for selector in selectors for entry in self._entries.get(selector, {}).values())


class GroupIndex:
    """Groups under each of their selectors."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[Selector, dict[Group, None]] = {}  # the inner one is a set in order

    def add(self, group: Group) -> None:
        for selector in group.selectors:
            self._groups.setdefault(selector, {})[group] = None

    def remove(self, group: Group) -> None:
        """It has been added before."""
        for selector in group.selectors:
            groups = self._groups[selector]
            del groups[group]
            if not groups:
                del self._groups[selector]

    def near(self, selectors: Selectors) -> Collection[Group]:
        """All that can match an entry with `selectors`, and some that do not, in the order in which they were added."""
        return min((self._groups.get(selector, {}) for selector in selectors), key=len, default={})
