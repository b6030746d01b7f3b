"""All agents that are told of secrets now, and who of them must hear of what."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.index import Index
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.watch import SecretWatcher
from sds.server.watch import WatchEnded


class SecretWatches:
    """All open watches, and who must hear of what."""

    def __init__(
        self,
        entry: Callable[[str], RegistrationEntry | None],
        catalog: SecretCatalog,
        shelf: Shelf,
        *,
        max_wanted: int,
        tickets: bool,
    ) -> None:
        """`entry`: by its ID, if it is live now. `tickets`: whether every entry has those."""
        self._entry = entry
        self._catalog = catalog
        self._shelf = shelf
        self._max_wanted = max_wanted
        self._tickets = tickets
        self._watchers: set[SecretWatcher] = set()
        self._index = Index()

    def __len__(self) -> int:
        return len(self._watchers)

    @property
    def wanted(self) -> int:
        """How much is wanted by all agents together."""
        return self._index.wanted

    def open(self, agent_id: SpiffeId) -> SecretWatcher:
        """For an agent: of all entries it has its own alone."""

        def own(entry_id: str) -> RegistrationEntry | None:
            entry = self._entry(entry_id)
            return entry if entry is not None and entry.parent_id == agent_id else None

        return self._open(agent_id, own)

    def open_for(self, spiffe_id: SpiffeId) -> SecretWatcher:
        """For whoever has proven to be of this identity."""

        def own(entry_id: str) -> RegistrationEntry | None:
            entry = self._entry(entry_id)
            return entry if entry is not None and entry.spiffe_id == spiffe_id else None

        return self._open(spiffe_id, own)

    def _open(self, owner: SpiffeId, entry: Callable[[str], RegistrationEntry | None]) -> SecretWatcher:
        watcher = SecretWatcher(
            owner,
            entry,
            self._catalog,
            self._shelf,
            self._index,
            self._watchers.discard,
            max_wanted=self._max_wanted,
            tickets=self._tickets,
        )
        self._watchers.add(watcher)
        return watcher

    def watching(self, secret_id: str) -> int:
        """How many agents are sent this secret now."""
        users = {user for slot in self._shelf.of(secret_id) for user in slot.users}
        return len({user.agent_id for user in users if isinstance(user, SecretWatcher)})

    def names_changed(self, names: Iterable[str]) -> None:
        """These secrets, or who is granted them."""
        for name in names:
            for watcher in self._index.by_name.get(name, ()):
                watcher.name_changed(name)

    def entry_changed(self, entry_id: str | None) -> None:
        """None: any of them may have."""
        if entry_id is not None:
            for watcher in self._index.by_entry.get(entry_id, ()):
                watcher.entry_changed(entry_id)
            return
        for watcher in self._watchers:
            watcher.anything_changed()

    def agent_changed(self, agent_id: SpiffeId) -> None:
        for watcher in self._watchers:
            if watcher.agent_id == agent_id:
                watcher.nudge()

    def end(self, reason: str) -> None:
        """End them all: the server is shutting down."""
        for watcher in self._watchers:
            watcher.end(WatchEnded(reason))
