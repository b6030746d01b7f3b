"""One agent's view of what changes: a mailbox that holds names, never contents, so a slow reader costs no memory.

What a name means is looked up when the mailbox is emptied. Ten changes of one entry between two reads are one, and
nothing that was overtaken is ever sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle


@dataclass(frozen=True, slots=True)
class Update:
    """Applied in full, it brings an agent up to `revision` of `epoch`.

    `snapshot`: forget all entries that are not in `upserted`. `bundle` is None when it did not change; so is
    `federated`, else it has every foreign bundle that there is for the agent's entries.
    """

    revision: int
    epoch: str
    snapshot: bool = False
    upserted: tuple[RegistrationEntry, ...] = ()
    removed: tuple[str, ...] = ()
    bundle: TrustBundle | None = None
    federated: tuple[TrustBundle, ...] | None = None


@dataclass(slots=True)
class Pending:
    """What a watcher has not been told yet."""

    snapshot: bool = False
    bundle: bool = False
    federated: bool = False
    entry_ids: set[str] | None = None

    def __bool__(self) -> bool:
        return self.snapshot or self.bundle or self.federated or bool(self.entry_ids)


class WatchEnded(Exception):
    """The watch must end now; the message says why and is safe to show."""


class Watcher:
    """Made by `Registry.watch`; used by one task on the event loop, and closed by it."""

    __slots__ = ("_closed", "_ended", "_max_pending", "_on_close", "_pending", "_resolve", "_wake", "agent_id")

    def __init__(
        self,
        agent_id: SpiffeId,
        resolve: Callable[[Watcher, Pending], Update],
        on_close: Callable[[Watcher], None],
        *,
        max_pending: int,
    ) -> None:
        self.agent_id = agent_id
        self._resolve = resolve
        self._on_close = on_close
        self._max_pending = max_pending
        self._pending = Pending()
        self._wake = asyncio.Event()
        self._ended: str | None = None
        self._closed = False

    # The registry's side

    def touch(self, entry_id: str) -> None:
        """The entry was changed, added or removed."""
        if not self._pending.snapshot:
            names = self._pending.entry_ids
            if names is None:
                names = self._pending.entry_ids = set()
            names.add(entry_id)
            if len(names) > self._max_pending:
                self.reset()
        self._wake.set()

    def touch_bundle(self) -> None:
        self._pending.bundle = True
        self._wake.set()

    def touch_federated(self) -> None:
        """A bundle of another trust domain that entries name has changed, come or gone; or which ones they name."""
        self._pending.federated = True
        self._wake.set()

    def reset(self) -> None:
        """Everything is sent again as a snapshot."""
        self._pending = Pending(snapshot=True, bundle=True, federated=True)
        self._wake.set()

    def nudge(self) -> None:
        """Wake the reader, so that it looks again whether its agent is still welcome."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Make the next `take` raise WatchEnded; the first reason stands."""
        self._ended = self._ended or reason
        self._wake.set()

    # The reader's side

    def take(self) -> Update | None:
        """What is new, or None. Raises WatchEnded."""
        if self._ended is not None:
            raise WatchEnded(self._ended)
        self._wake.clear()
        if not self._pending:
            return None
        pending, self._pending = self._pending, Pending()
        return self._resolve(self, pending)

    async def wait(self, seconds: float) -> bool:
        """Until `take` has something to say, at most `seconds`; False when they passed in silence."""
        if self._wake.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Forget this watcher; harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
