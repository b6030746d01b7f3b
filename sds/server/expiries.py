"""When entries expire: which have, and when the next one does."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from datetime import datetime

from attestation.entry import RegistrationEntry


class Expiries:
    """Follows `entries`, which its owner changes and tells it of."""

    __slots__ = ("_entries", "_expired", "_heap")

    def __init__(self, entries: Mapping[str, RegistrationEntry]) -> None:
        self._entries = entries
        self._expired: set[str] = set()
        self._heap: list[tuple[datetime, str]] = []

    def __contains__(self, entry_id: object) -> bool:
        """Whether it was found to have expired."""
        return entry_id in self._expired

    def __len__(self) -> int:
        """How many moments are kept in memory."""
        return len(self._heap)

    @property
    def next(self) -> datetime | None:
        """When `due` may have something to say again."""
        return self._heap[0][0] if self._heap else None

    def add(self, entry: RegistrationEntry, now: datetime) -> None:
        """One that is new or changed, and in `entries`."""
        if not entry.live(now):
            self._expired.add(entry.id)
        elif entry.spec.expires_at is not None:
            heapq.heappush(self._heap, (entry.spec.expires_at, entry.id))
            if len(self._heap) > 2 * len(self._entries) + 64:  # mostly leftovers of entries changed often
                self._heap = [(e.spec.expires_at, e.id) for e in self._entries.values() if e.spec.expires_at]
                heapq.heapify(self._heap)

    def forget(self, entry_id: str) -> None:
        """It changed or is gone."""
        self._expired.discard(entry_id)

    def due(self, now: datetime) -> Iterator[RegistrationEntry]:
        """Those that have expired since this was last asked."""
        while self._heap and self._heap[0][0] <= now:
            _, entry_id = heapq.heappop(self._heap)
            entry = self._entries.get(entry_id)
            if entry is not None and not entry.live(now) and entry_id not in self._expired:
                self._expired.add(entry_id)
                yield entry
