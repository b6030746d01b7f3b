"""The tokens that the agent keeps, and what is to become of each. No I/O; time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle
from ca.masked import Masked

Key = tuple[str, tuple[str, ...]]
"""An entry's ID and an audience as ca.jwt_svid.check_audience gives it."""

MAX_PER_ENTRY = 256
"""A workload that asks for ever new audiences pushes out its own tokens, not its neighbours'."""
LATE_SHARE = 8
"""Less than this part of a token's life left: callers rather wait for the next one, if the server can be asked."""
HASTE = timedelta(seconds=30)
"""The tokens of a tainted authority are replaced within this time, or a quarter of what they have left if less."""


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A JWT-SVID in memory. `wanted_ttl` is what the entry asked for when it was signed. Times are aware UTC."""

    token: Masked[str]
    spiffe_id: SpiffeId
    authority_id: str
    issued_at: datetime
    expires_at: datetime
    refresh_at: datetime
    wanted_ttl: timedelta | None = None


class Standing(Enum):
    """What a caller gets who asks for it now."""

    NONE = "none"
    """There is nothing that may be given out: wait for a new one."""
    DOUBTFUL = "doubtful"
    """A new one, if the server can be asked; else this one."""
    STALE = "stale"
    """This one; and a new one is asked for."""
    GOOD = "good"


def standing(held: HeldToken | None, entry: RegistrationEntry, bundle: TrustBundle | None, now: datetime) -> Standing:
    """How `held` stands for `entry` at `now`.

    Gone: expired, of another identity, or by an authority that is not in the bundle any more (revoked), so that nobody
    would believe it. Doubtful: by a tainted authority, or about to expire.
    """
    if held is None or held.expires_at <= now or held.spiffe_id != entry.spiffe_id or not _published(held, bundle):
        return Standing.NONE
    if bundle is not None and held.authority_id in bundle.tainted:
        return Standing.DOUBTFUL
    if held.expires_at - now < (held.expires_at - held.issued_at) / LATE_SHARE:
        return Standing.DOUBTFUL
    if held.refresh_at <= now or held.wanted_ttl != entry.spec.jwt_svid_ttl:
        return Standing.STALE
    return Standing.GOOD


def _published(held: HeldToken, bundle: TrustBundle | None) -> bool:
    return bundle is not None and any(key.id == held.authority_id for key in bundle.jwt_keys)


class Shelf:
    """At most `capacity` tokens; of more, the one used longest ago goes."""

    __slots__ = ("_by_entry", "_capacity", "_held", "_used")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[Key, HeldToken] = OrderedDict()  # the one used longest ago first
        self._by_entry: dict[str, OrderedDict[Key, None]] = {}  # in the same order
        self._used: set[Key] = set()  # since they were put here

    def __len__(self) -> int:
        return len(self._held)

    def use(self, key: Key) -> HeldToken | None:
        """The token under `key`; it counts as used now."""
        held = self._held.get(key)
        if held is not None:
            self._used.add(key)
            self._held.move_to_end(key)
            self._by_entry[key[0]].move_to_end(key)
        return held

    def put(self, key: Key, held: HeldToken, *, used: bool) -> None:
        """Keep `held` in place of what was there. What nobody has used since is not renewed by itself."""
        self.drop([key])
        self._held[key] = held
        self._by_entry.setdefault(key[0], OrderedDict())[key] = None
        if used:
            self._used.add(key)
        if len(self._by_entry[key[0]]) > MAX_PER_ENTRY:
            self.drop([next(iter(self._by_entry[key[0]]))])
        if len(self._held) > self._capacity:
            self.drop([next(iter(self._held))])

    def drop(self, keys: Iterable[Key]) -> None:
        for key in tuple(keys):
            if self._held.pop(key, None) is None:
                continue
            self._used.discard(key)
            siblings = self._by_entry[key[0]]
            del siblings[key]
            if not siblings:
                del self._by_entry[key[0]]

    def prune(self, entries: Mapping[str, RegistrationEntry], bundle: TrustBundle | None, now: datetime) -> int:
        """Forget what may not be given out any more; how many that were."""
        gone = [
            key
            for key, held in self._held.items()
            if (entry := entries.get(key[0])) is None or standing(held, entry, bundle, now) is Standing.NONE
        ]
        self.drop(gone)
        return len(gone)

    def hasten(self, tainted: frozenset[str], now: datetime, jitter: float) -> None:
        """Bring the renewal of tainted authorities' tokens forward, by a `jitter` in [0, 1)."""
        for key, held in self._held.items():
            if held.authority_id in tainted and held.refresh_at > (
                soon := now + min(HASTE, (held.expires_at - now) / 4)
            ):
                self._held[key] = replace(held, refresh_at=now + (soon - now) * jitter)

    def due(self, now: datetime) -> list[Key]:
        """Tokens in use that are to be replaced now, the first to expire first."""
        found = [(self._held[key].expires_at, key) for key in self._used if self._held[key].refresh_at <= now]
        return [key for _, key in sorted(found)]

    def next_look(self, now: datetime) -> datetime | None:
        """When after `now` `due` or `prune` will have something new to do."""
        refreshes = [self._held[key].refresh_at for key in self._used]
        moments = [*refreshes, *(held.expires_at for held in self._held.values())]
        return min((moment for moment in moments if moment > now), default=None)
