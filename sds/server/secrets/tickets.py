"""Session-ticket keys of every identity, from masters that all replicas share and that end with their epoch.

Level-triggered, on any replica: who finds a rotation due does it, and of two that do so at once one adds the master.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.errors import CaError
from ca.masked import Masked
from sds.audit.event import Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.secrets.errors import SecretUnavailable
from sds.secrets.secret import SecretValue
from sds.secrets.tickets import MASTER_BYTES, Epoch, due, ticket_keys
from sds.server.authority.kek_ring import fence
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.secrets.records import TicketMaster, WrappedDataKey
from sds.store.unit_of_work import UnitOfWork

_NONE: Mapping[int, Masked[bytes]] = MappingProxyType({})


class MasterSealer(Protocol):
    """Keeps masters under the key-encryption key, each bound to its epoch."""

    def seal_master(self, epoch: int, master: Masked[bytes]) -> WrappedDataKey: ...

    def open_master(self, epoch: int, sealed: WrappedDataKey) -> Masked[bytes]:
        """Raises KeyUnwrapFailed."""
        ...


class TicketKeys:
    """`tick` rotates, `refresh` reads again after a change of the feed, `keys_for` is what identities are sent."""

    def __init__(
        self,
        store: Transactions,
        sealer: MasterSealer,
        events: Events,
        clock: Clock,
        every: timedelta,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._events = events
        self._clock = clock
        self._every = every
        self._random_bytes = random_bytes
        self._epochs: tuple[Epoch, ...] = ()
        self._masters = _NONE
        self._one_at_a_time = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._log = get_logger(__name__)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when every identity has other keys than before."""
        self._listeners.append(listener)

    async def keys_for(self, spiffe_id: SpiffeId) -> SecretValue:
        """The keys that all of this identity share. Raises SecretUnavailable."""
        if not self._epochs:
            try:
                await self.tick()
            except (StoreError, CaError) as error:
                raise SecretUnavailable(f"there are no session-ticket keys: {error}") from error
        return ticket_keys(self._epochs, self._masters, spiffe_id)

    async def tick(self) -> None:
        """Make the next master if it is time. Raises StoreError, CaError."""
        await self.refresh()
        if due(self._epochs, self._clock.now(), self._every) is not None:
            await self._store.write(self._rotate)
            await self.refresh()

    async def refresh(self) -> None:
        """Take in what stands; a master that was destroyed leaves memory, too. Raises StoreError, KeyUnwrapFailed."""
        async with self._one_at_a_time:
            standing = await self._store.read(lambda uow: uow.ticket_masters.all())
            epochs = _epochs(standing)
            if epochs == self._epochs:
                return
            known = self._masters if self._epochs else _NONE
            made = {epoch.number: epoch.created_at for epoch in self._epochs}
            self._masters = {
                one.epoch: known[one.epoch]
                if made.get(one.epoch) == one.created_at
                else self._sealer.open_master(one.epoch, one.key)
                for one in standing
            }
            self._epochs = epochs
        for listener in self._listeners:
            listener()

    def _rotate(self, uow: UnitOfWork) -> None:
        """By what stands in this transaction: a replica that was slower finds nothing due. Raises KekOvertaken."""
        uow.changes.lock()  # before anything is wrapped, so that a rotation of the key-encryption key misses nothing
        turn = due(_epochs(uow.ticket_masters.all()), uow.now, self._every)
        if turn is None:
            return
        for epoch in turn.make:
            sealed = self._sealer.seal_master(epoch, Masked(self._random_bytes(MASTER_BYTES)))
            fence(uow, sealed.kek_id)
            if uow.ticket_masters.add(epoch, sealed).key != sealed:
                return  # another replica was faster, and has done the rest
        destroyed = uow.ticket_masters.destroy_before(turn.keep_from)
        uow.audit.append(
            self._events.make(
                uow.now,
                "tickets.rotate",
                system_actor(),
                Target("tickets", str(turn.make[-1])),
                details={"made": turn.make, "destroyed": destroyed},
            )
        )


def _epochs(masters: tuple[TicketMaster, ...]) -> tuple[Epoch, ...]:
    return tuple(Epoch(one.epoch, one.created_at) for one in masters)
