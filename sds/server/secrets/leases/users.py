"""Who uses leases on this replica, as the database has to know it: other replicas must not revoke what is used here."""

from __future__ import annotations

from sds.clock import Clock
from sds.secrets.leasing.lease import Receiver
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork


class Users:
    """Those of before a restart count until `linger` seconds have passed, so that agents may come back."""

    def __init__(self, store: Transactions, replica: str, clock: Clock, linger: float) -> None:
        self._store = store
        self._replica = replica
        self._clock = clock
        self._linger = linger
        self._known: set[Receiver] = set()
        self._unconfirmed: dict[Receiver, float] = {}

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
        now = self._clock.monotonic()
        gone = [receiver for receiver, until in self._unconfirmed.items() if now >= until]
        if not gone:
            return

        def work(uow: UnitOfWork) -> None:
            for receiver in gone:
                uow.leases.unuse(receiver, self._replica)

        await self._store.write(work)
        for receiver in gone:
            if receiver not in self._known:
                self._unconfirmed.pop(receiver, None)
