"""What happens to secrets because time passes: values end, grow too old, or are made anew."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from sds.clock import Clock
from sds.logs import get_logger
from sds.secrets.ageing import too_old
from sds.secrets.errors import SecretError
from sds.secrets.secret import EmbeddedSource, PkiSource, Secret
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.states import States
from sds.server.transactions import Transactions
from sds.store.errors import StoreError

TICK = timedelta(seconds=1)
AGES = timedelta(seconds=10)
"""Between two looks at how old values are; a change of a definition is looked at with the next tick."""


class Generator(Protocol):
    """Makes a new random value where one is due."""

    async def generate_due(self, secret: Secret) -> bool:
        """Whether one was made: it was due, and no other replica was faster. Raises StoreError, SecretError."""
        ...


class Ending(Protocol):
    """A backend whose values are to be replaced before they end."""

    def due(self, secret: Secret, now: datetime) -> bool: ...


class Upkeep:
    """`run` beside the listeners."""

    def __init__(
        self,
        store: Transactions,
        catalog: SecretCatalog,
        shelf: Shelf,
        states: States,
        generator: Generator,
        clock: Clock,
        ending: Ending | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._shelf = shelf
        self._states = states
        self._generator = generator
        self._clock = clock
        self._ending = ending
        self._aged: float | None = None
        self._changed = True
        self._log = get_logger(__name__)

    def wake(self) -> None:
        """Definitions have changed."""
        self._changed = True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._shelf.expire(self._clock.now())
            self._shelf.observe()
            self.renew()
            now = self._clock.monotonic()
            if self._changed or self._aged is None or now - self._aged >= AGES.total_seconds():
                self._aged, self._changed = now, False
                try:
                    await self.generate()
                    await self.look_at_ages()
                except StoreError as error:
                    self._log.warning("the age of secrets could not be looked at", reason=str(error))
            await asyncio.sleep(TICK.total_seconds() * (0.5 + self._clock.jitter()))

    def renew(self) -> None:
        """Have what is wanted and about to end replaced."""
        now, ending = self._clock.now(), self._ending
        if ending is None:
            return
        for slot in self._shelf.slots():
            waits = slot.timer is not None or slot.task is not None
            if isinstance(slot.secret.spec.source, PkiSource) and not waits and ending.due(slot.secret, now):
                self._shelf.fetch(slot)

    async def generate(self) -> None:
        """Make the values that are due. Raises StoreError."""
        for secret in [one for one in self._catalog.secrets() if one.spec.rotation.generate]:
            if not isinstance(secret.spec.source, EmbeddedSource):
                continue
            try:
                if await self._generator.generate_due(secret):
                    self._log.info("made a new value", name=secret.name)
            except SecretError as error:
                self._log.warning("a new value could not be made", name=secret.name, reason=str(error))

    async def look_at_ages(self) -> None:
        """Note what is too old and has nobody who wants it, for who wants it notes it himself. Raises StoreError."""
        ageing = [one for one in self._catalog.secrets() if one.spec.rotation.every is not None]
        if not ageing:
            return
        known = await self._store.read(lambda uow: uow.secrets.states())
        now = self._clock.now()
        for secret in ageing:
            state = known.get(secret.id)
            if state is not None and not self._shelf.of(secret.id) and too_old(secret, state.changed_at, now):
                self._states.note(secret, state)
