"""One agent's wants: which of its entries want which secrets, what it has been told, and what it has not yet.

The mailbox holds names and never values: what a name stands for is looked up when it is emptied. Ten changes of one
secret between two looks are one, and what was overtaken is never sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from sds.secrets.secret import TICKETS, Secret
from sds.server.secrets.backends import TICKET_SECRET
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.index import Index, enter, leave
from sds.server.secrets.news import Absence, Delivery, News, Refused, Told, Want
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.slot import Slot


@dataclass(slots=True, eq=False)
class _Wanted:
    """`held`: the version that the agent has."""

    held: str
    told: Told = Told.NOTHING
    slot: Slot | None = None


class TooManyWanted(Exception):
    """More than one agent may want at once."""


class SecretWatcher:
    """Made by `SecretWatches.open`; used by one stream on the event loop, and closed by it."""

    __slots__ = (
        "__weakref__",
        "_by_entry",
        "_by_name",
        "_by_slot",
        "_catalog",
        "_ended",
        "_entry",
        "_index",
        "_max_wanted",
        "_on_close",
        "_pending",
        "_shelf",
        "_tickets",
        "_wake",
        "_wanted",
        "agent_id",
    )

    def __init__(
        self,
        agent_id: SpiffeId,
        entry: Callable[[str], RegistrationEntry | None],
        catalog: SecretCatalog,
        shelf: Shelf,
        index: Index,
        on_close: Callable[[SecretWatcher], None],
        *,
        max_wanted: int,
        tickets: bool,
    ) -> None:
        """`entry`: by its ID, if it is live and this agent's."""
        self.agent_id = agent_id
        self._entry = entry
        self._catalog = catalog
        self._shelf = shelf
        self._index = index
        self._on_close = on_close
        self._max_wanted = max_wanted
        self._tickets = tickets
        self._wanted: dict[Want, _Wanted] = {}
        self._by_entry: dict[str, set[Want]] = {}
        self._by_name: dict[str, set[Want]] = {}
        self._by_slot: dict[Slot, set[Want]] = {}
        self._pending: dict[Want, None] = {}
        self._wake = asyncio.Event()
        self._ended: Exception | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    # What the agent says

    def want(self, entry_id: str, name: str, held_version: str) -> None:
        """Asking again for what is wanted already is answered again. Raises TooManyWanted."""
        key = (entry_id, name)
        wanted = self._wanted.get(key)
        if wanted is None:
            if len(self._wanted) >= self._max_wanted:
                raise TooManyWanted(f"an agent may want at most {self._max_wanted} secrets at once")
            self._wanted[key] = _Wanted(held_version)
            self._index.wanted += 1
            enter(self, key, self._by_entry, self._index.by_entry, entry_id)
            enter(self, key, self._by_name, self._index.by_name, name)
        else:
            wanted.held, wanted.told = held_version, Told.NOTHING
        self._mark(key)

    def unwant(self, entry_id: str, name: str) -> None:
        key = (entry_id, name)
        wanted = self._wanted.pop(key, None)
        if wanted is None:
            return
        self._pending.pop(key, None)
        self._let_go(key, wanted)
        self._index.wanted -= 1
        leave(self, key, self._by_entry, self._index.by_entry, entry_id)
        leave(self, key, self._by_name, self._index.by_name, name)

    # What others say

    def slot_changed(self, slot: Slot) -> None:
        for key in self._by_slot.get(slot, ()):
            self._mark(key)

    def entry_changed(self, entry_id: str) -> None:
        for key in self._by_entry.get(entry_id, ()):
            self._mark(key)

    def name_changed(self, name: str) -> None:
        """The secret of this name, or who is granted it."""
        for key in self._by_name.get(name, ()):
            self._mark(key)

    def anything_changed(self) -> None:
        for key in self._wanted:
            self._mark(key)

    def nudge(self) -> None:
        """Wake the reader, so that it looks again whether its agent is still welcome."""
        self._wake.set()

    def end(self, error: Exception) -> None:
        """Make the next `take` raise; the first error stands."""
        self._ended = self._ended or error
        self._wake.set()

    # The sender's side

    def take(self, now: datetime, most: int) -> News:
        """What is new of at most `most` wants. Raises WatchEnded, or what `end` was given."""
        if self._ended is not None:
            raise self._ended
        news = News()
        absent: dict[tuple[str, Told], list[str]] = {}
        given: dict[Slot, list[tuple[Want, RegistrationEntry]]] = {}
        for key in list(self._pending)[:most]:
            del self._pending[key]
            self._look(key, now, news, absent, given)
        if not self._pending:
            self._wake.clear()
        news.absences = [Absence(name, told, tuple(ids)) for (name, told), ids in absent.items()]
        for slot, receivers in given.items():
            if slot.held is not None:
                entries = tuple(entry for _, entry in receivers)
                news.deliveries.append(Delivery(slot.secret, slot.held, entries, slot.detected))
        return news

    def still(self, delivery: Delivery, now: datetime) -> Delivery | None:
        """The delivery as far as it may be sent now, after a wait; None: not at all."""
        entries = tuple(entry for entry in delivery.entries if self._standing(entry, delivery))
        if not entries or not delivery.held.fit(now):
            return None
        return Delivery(delivery.secret, delivery.held, entries, delivery.detected)

    def told_value(self, delivery: Delivery) -> None:
        """It was sent."""
        for entry in delivery.entries:
            wanted = self._wanted.get((entry.id, delivery.secret.name))
            if wanted is not None:
                wanted.held, wanted.told = delivery.held.value.version, Told.VALUE

    def put_back(self, deliveries: Iterable[Delivery]) -> None:
        """They could not be sent; `take` finds what they are about again, when it is next asked."""
        for delivery in deliveries:
            for entry in delivery.entries:
                key = (entry.id, delivery.secret.name)
                if key in self._wanted:
                    self._pending[key] = None

    async def wait(self, seconds: float) -> bool:
        """Until `take` has something to say, at most `seconds`; False when they passed in silence."""
        if self._wake.is_set():
            await asyncio.sleep(0)  # others have their turn
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Forget everything; harmless when repeated."""
        for entry_id, name in tuple(self._wanted):
            self.unwant(entry_id, name)
        self._on_close(self)

    # Below

    def _mark(self, key: Want) -> None:
        self._pending[key] = None
        self._wake.set()

    def _look(
        self,
        key: Want,
        now: datetime,
        news: News,
        absent: dict[tuple[str, Told], list[str]],
        given: dict[Slot, list[tuple[Want, RegistrationEntry]]],
    ) -> None:
        """What there is to tell of one want, put where it belongs."""
        (entry_id, name), wanted = key, self._wanted[key]
        entry = self._entry(entry_id)
        secret = None if entry is None else self._granted(entry, name)
        if entry is None or secret is None:
            if wanted.told is Told.NOTHING:
                news.refused.append(self._refusal(entry_id, name, entry))
            self._let_go(key, wanted, for_good=True)
            wanted.held, told = "", Told.NOT_GRANTED
        else:
            slot = self._slot(key, wanted, secret, entry)
            if slot.held is not None and slot.held.fit(now):
                if slot.held.value.version != wanted.held:
                    given.setdefault(slot, []).append((key, entry))
                    return
                told = Told.VALUE if wanted.told is Told.VALUE else Told.UNCHANGED
            elif slot.problem is not None and wanted.told in {Told.NOTHING, Told.NOT_GRANTED}:
                told = Told.UNAVAILABLE
            else:  # it is on its way, or the agent has a value that stays good
                return
        if told is not wanted.told:
            wanted.told = told
            absent.setdefault((name, told), []).append(entry_id)

    def _granted(self, entry: RegistrationEntry, name: str) -> Secret | None:
        if name == TICKETS:
            return TICKET_SECRET if self._tickets else None
        return self._catalog.may(entry.spec, name)

    def _standing(self, entry: RegistrationEntry, delivery: Delivery) -> bool:
        now_entry = self._entry(entry.id)
        if (entry.id, delivery.secret.name) not in self._wanted or now_entry is None:
            return False
        secret = self._granted(now_entry, delivery.secret.name)
        return secret is not None and secret.id == delivery.secret.id and now_entry.spiffe_id == entry.spiffe_id

    def _refusal(self, entry_id: str, name: str, entry: RegistrationEntry | None) -> Refused:
        if entry is None:
            return Refused(name, entry_id, "", "no such entry for this agent")
        why = "there is no such secret" if self._catalog.named(name) is None else "no grant covers this identity"
        return Refused(name, entry_id, str(entry.spiffe_id), why)

    def _slot(self, key: Want, wanted: _Wanted, secret: Secret, entry: RegistrationEntry) -> Slot:
        """The one that it holds, unless that is another's by now."""
        slot = wanted.slot
        if slot is not None and slot.key != self._shelf.key(secret, entry.spiffe_id):
            self._let_go(key, wanted)
            slot = None
        if slot is None:
            slot = wanted.slot = self._shelf.hold(secret, entry.spiffe_id, self)
            self._by_slot.setdefault(slot, set()).add(key)
        return slot

    def _let_go(self, key: Want, wanted: _Wanted, *, for_good: bool = False) -> None:
        slot, wanted.slot = wanted.slot, None
        if slot is None:
            return
        keys = self._by_slot[slot]
        keys.discard(key)
        if not keys:
            del self._by_slot[slot]
            self._shelf.drop(slot, self, for_good=for_good)
