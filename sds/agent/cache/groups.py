"""The groups of live callers, and which of them match which entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping
from datetime import datetime

from attestation.entry import RegistrationEntry, match
from attestation.selector import Selectors
from sds.agent.cache.group import Group, Member
from sds.agent.cache.matching import GroupIndex


class Groups:
    """In the order in which they came. `entries` belong to the cache."""

    __slots__ = ("_by_selectors", "_entries", "_idle_since", "_index", "_of")

    def __init__(self, entries: Mapping[str, RegistrationEntry]) -> None:
        self._entries = entries
        self._by_selectors: dict[Selectors, Group] = {}
        self._of: dict[str, dict[Group, None]] = {}  # by entry ID; the inner one is a set in order
        self._index = GroupIndex()
        self._idle_since: dict[str, datetime] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._by_selectors.values())

    def get(self, selectors: Selectors) -> Group | None:
        return self._by_selectors.get(selectors)

    def add(self, selectors: Selectors) -> Group:
        """A new one, which has no entries yet; there was none with `selectors`."""
        group = self._by_selectors[selectors] = Group(selectors)
        self._index.add(group)
        return group

    def remove(self, group: Group) -> None:
        """One that has no entries any more."""
        del self._by_selectors[group.selectors]
        self._index.remove(group)

    def assign(self, group: Group, entries: tuple[RegistrationEntry, ...], now: datetime) -> None:
        """The group matches these entries from `now` on."""
        before = {entry.id for entry in group.entries}
        after = {entry.id for entry in entries}
        group.entries = entries
        for entry_id in before - after:
            groups = self._of[entry_id]
            del groups[group]
            if not groups:
                del self._of[entry_id]
                if entry_id in self._entries:
                    self._idle_since[entry_id] = now
        for entry_id in after - before:
            self._of.setdefault(entry_id, {})[group] = None
            self._idle_since.pop(entry_id, None)

    def of(self, entry_id: str) -> tuple[Group, ...]:
        """Those that match this entry."""
        return tuple(self._of.get(entry_id, ()))

    def matching(self, entry: RegistrationEntry, now: datetime) -> Iterable[Group]:
        """Those that are to match this entry now, whatever they matched before."""
        return (group for group in self._index.near(entry.selectors) if match((entry,), group.selectors, now))

    def member_for(self, entry_id: str) -> Member | None:
        """A local process whose need makes this entry wanted."""
        groups = self._of.get(entry_id, {})
        return next((member for group in groups for member in group.members.values()), None)

    @property
    def used(self) -> KeysView[str]:
        """IDs of the entries that any of them matches."""
        return self._of.keys()

    @property
    def idle_since(self) -> Mapping[str, datetime]:
        """When the last caller of an entry that nobody matches any more left, by entry ID."""
        return self._idle_since

    def forget(self, entry_id: str) -> None:
        """How long nobody has used this entry is of no interest any more."""
        self._idle_since.pop(entry_id, None)
