"""Has session-ticket keys rotated in time, and taken in when another replica has rotated them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from ca.errors import CaError
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.secrets.tickets import TicketKeys
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork

TICK = 1.0
"""Seconds between two looks at whether a rotation is due."""
RETRY = 5.0


class TicketLoop:
    """`run` beside the listeners."""

    def __init__(self, keys: TicketKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._wake = asyncio.Event()
        self._log = get_logger(__name__)

    def reread(self, uow: UnitOfWork, keys: Collection[str] | None) -> Callable[[], None]:
        """Given to the follower: masters have changed; the loop reads them."""
        del uow, keys
        return self._wake.set

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            pause = TICK
            try:
                await self._keys.tick()
            except (StoreError, CaError) as error:
                pause = RETRY
                self._log.warning("session-ticket keys could not be looked after", reason=str(error))
            try:
                async with asyncio.timeout(pause * (0.5 + self._clock.jitter())):
                    await self._wake.wait()
            except TimeoutError:
                continue
