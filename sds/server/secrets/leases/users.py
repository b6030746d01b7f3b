"""Who uses leases on this replica, as the database has to know it: other replicas must not revoke what is used here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sds.clock import Clock
from sds.secrets.grant import granting
from sds.secrets.leasing.lease import Receiver
from sds.server.transactions import Transactions
from sds.store.records import EntryFilter
from sds.store.unit_of_work import UnitOfWork

Granted = Callable[[UnitOfWork, Receiver], bool]
_AT_ONCE = 50
"""Receivers looked at in one tick."""
_ENTRIES = 1000
"""Entries of one SPIFFE ID that are looked at."""


class Users:
    """Those of before a restart count until `linger` seconds have passed, so that agents may come back, or until they
    are not `granted` the secret any more.
    """

    def __init__(
        self, store: Transactions, replica: str, clock: Clock, linger: float, granted: Granted | None = None
    ) -> None:
        self._store = store
        self._replica = replica
        self._clock = clock
        self._linger = linger
        self._granted = granted
        self._known: set[Receiver] = set()
        self._unconfirmed: dict[Receiver, float] = {}
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> None:
        """At start. Raises StoreError."""
        users = await self._store.read(lambda uow: uow.leases.users())
        until = self._clock.monotonic() + self._linger
        self._unconfirmed = {
            receiver: until
            for receiver, replicas in users.items()
            if self._replica in replicas and receiver not in self._known
        }

    async def use(self, receiver: Receiver) -> None:
        """Raises StoreError."""
        if receiver in self._known:
            return
        async with self._one_at_a_time:
            await self._store.write(lambda uow: uow.leases.use(receiver, self._replica))
            self._known.add(receiver)
            self._unconfirmed.pop(receiver, None)

    async def release(self, receiver: Receiver) -> None:
        """Nobody uses it here. Raises StoreError; then it is tried again with the next `tidy`."""
        self._known.discard(receiver)
        self._unconfirmed[receiver] = self._clock.monotonic()
        await self.tidy()

    async def again(self) -> None:
        """All that is known, should another replica have taken this one for gone. Raises StoreError."""
        known = tuple(self._known)

        def work(uow: UnitOfWork) -> None:
            for receiver in known:
                uow.leases.use(receiver, self._replica)

        await self._store.write(work)

    async def tidy(self) -> None:
        """Forget those who are waited for no longer. Raises StoreError."""
        async with self._one_at_a_time:
            await self._tidy()

    async def _tidy(self) -> None:
        now = self._clock.monotonic()
        gone = [receiver for receiver, until in self._unconfirmed.items() if now >= until]
        gone += await self._refused()
        if not gone:
            return

        def work(uow: UnitOfWork) -> None:
            for receiver in gone:
                uow.leases.unuse(receiver, self._replica)

        await self._store.write(work)
        for receiver in gone:
            if receiver not in self._known:
                self._unconfirmed.pop(receiver, None)

    async def _refused(self) -> list[Receiver]:
        """Some of those of before the restart, others each time: who is granted it no more. Raises StoreError."""
        granted = self._granted
        if granted is None or not self._unconfirmed:
            return []
        some = list(self._unconfirmed)[:_AT_ONCE]
        for receiver in some:
            self._unconfirmed[receiver] = self._unconfirmed.pop(receiver)  # to the end of the queue
        return await self._store.read(lambda uow: [one for one in some if not granted(uow, one)])


def granted_by_entries(uow: UnitOfWork, receiver: Receiver) -> bool:
    """Whether a live entry with this SPIFFE ID is granted the secret."""
    grants = uow.grants.of(receiver.secret_id)
    entries = uow.entries.list(limit=_ENTRIES, filters=EntryFilter(spiffe_id=receiver.spiffe_id)).items
    return any(entry.live(uow.now) and granting(grants, entry.spec) is not None for entry in entries)
