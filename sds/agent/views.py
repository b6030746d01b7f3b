"""One View for each list of entries that a group of callers matches, kept as long as a group has it and no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attestation.entry import RegistrationEntry
from ca.bundle import TrustBundle
from sds.agent.renewal import Held
from sds.delivery.view import EMPTY, DomainBundle, Identity, Names, Trust, View

Key = tuple[str, ...]
"""The IDs of the matching entries, the default one first."""


@dataclass(frozen=True, slots=True)
class HeldSvid:
    """A certificate in memory with its key, as `identity` serves it. `authority_id`: who issued it."""

    held: Held
    identity: Identity
    authority_id: str = ""


class Views:
    """Builds views when they are first looked at. A view holds keys.

    `entries` and `held` belong to the cache; whatever is held has its entry.
    """

    __slots__ = ("_entries", "_held", "_names", "_trust", "_users", "_views")

    def __init__(self, entries: Mapping[str, RegistrationEntry], held: Mapping[str, HeldSvid], names: Names) -> None:
        self._entries = entries
        self._held = held
        self._names = names
        self._trust: Trust | None = None
        self._views: dict[Key, View] = {}
        self._users: dict[Key, int] = {}  # how many groups have that key

    def of(self, key: Key) -> View:
        """The same object for the same key until something in it changes."""
        if not key:
            return EMPTY
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = self._build(key)
        return view

    def trust(self, bundle: TrustBundle) -> None:
        """Every view shows this bundle from now on."""
        own = DomainBundle(bundle.trust_domain, bundle.pem(), bundle.crl_pem(), bundle.sequence)
        self._trust = Trust.build(own, names=self._names)
        self._views.clear()

    def forget(self, key: Key) -> None:
        """Something in the view has changed."""
        self._views.pop(key, None)

    def move(self, before: Key, after: Key) -> None:
        """A group that had one key has another now."""
        if before != after:
            self._count(after, +1)
            self._count(before, -1)

    def __len__(self) -> int:
        return len(self._views)

    def _count(self, key: Key, by: int) -> None:
        if not key:
            return
        users = self._users.pop(key, 0) + by
        if users:
            self._users[key] = users
        else:
            self._views.pop(key, None)

    def _build(self, key: Key) -> View:
        """The identities that can be served now. `default` is the first entry's alone: it waits rather than changes."""
        held = [entry_id for entry_id in key if entry_id in self._held]
        if not held or self._trust is None:
            return EMPTY
        identities = [self._held[entry_id].identity for entry_id in held]
        hints = [self._entries[entry_id].spec.hint for entry_id in held]
        return View.build(identities, self._trust, hints=hints, has_default=key[0] in self._held)
