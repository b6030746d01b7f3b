"""What hangs on one agent, in the registry."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from sds.server.watch import Watcher

MAX_HISTORY = 4096
"""Changed or removed entries remembered for each agent; who missed more gets a snapshot."""


@dataclass(slots=True)
class Parent:
    """Its entries and watches. `touched` maps entry IDs to the revision that last changed them, oldest first."""

    entries: dict[str, RegistrationEntry] = field(default_factory=dict)
    touched: OrderedDict[str, int] = field(default_factory=OrderedDict)
    floor: int = 0  # `touched` is complete for revisions after this one
    watchers: set[Watcher] = field(default_factory=set)

    @property
    def federates_with(self) -> set[TrustDomain]:
        """The trust domains that its entries name."""
        return {domain for entry in self.entries.values() for domain in entry.spec.federates_with}

    def remember(self, entry_id: str, revision: int) -> None:
        """The entry was changed at `revision`."""
        self.touched.pop(entry_id, None)
        self.touched[entry_id] = revision
        if len(self.touched) > MAX_HISTORY:
            _, self.floor = self.touched.popitem(last=False)

    def change(self, entry_id: str, revision: int) -> None:
        """The entry was changed at `revision`: remember it and tell the watches."""
        self.remember(entry_id, revision)
        self.touch(entry_id)

    def touch(self, entry_id: str) -> None:
        """Tell the watches that the entry is another one now, or none."""
        for watcher in self.watchers:
            watcher.touch(entry_id)
