"""What takes over a configuration that was read again (SIGHUP), while the server serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from ca.issuer import Issuer
from ca.profile import IssuancePolicy
from sds.config import ServerConfig
from sds.logs import get_logger
from sds.reload import Reload
from sds.server import options
from sds.server.services.entries import EntryService
from sds.store.errors import StoreError

SHOWN = 20
"""Entries that one line of the log names."""


class Workers(Protocol):
    """Processes that prepare certificates by limits of their own."""

    def use(self, policy: IssuancePolicy) -> Awaitable[None]: ...


class Reconfiguration:
    """Implements sds.server.server.Parts.reconfigure.

    Certificate profiles count from the next certificate on. What has been issued stays as it is until it is renewed;
    entries that no longer fit their profile stand, are named in the log, and get nothing. Notices go by the new
    rules from the next look on.
    """

    def __init__(
        self,
        issuer: Issuer,
        workers: Workers,
        entries: EntryService,
        rates: Callable[[ServerConfig], None],
        notices: Callable[[ServerConfig], None],
        noted: Callable[[Reload[ServerConfig]], Awaitable[None]],
    ) -> None:
        self._issuer = issuer
        self._workers = workers
        self._entries = entries
        self._rates = rates
        self._notices = notices
        self._noted = noted
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger(__name__)

    def __call__(self, config: ServerConfig) -> None:
        policy = options.issuance_policy(config)
        self._rates(config)
        self._notices(config)
        self._entries.use(options.entry_policy(config))
        self._issuer.use(policy)
        self._start(self._tell(policy))

    async def note(self, done: Reload[ServerConfig]) -> None:
        """Raises StoreError."""
        await self._noted(done)

    def look(self) -> None:
        """Name the entries that do not fit, in the background."""
        self._start(self._name_unfit())

    async def settled(self) -> None:
        """Wait until what was started is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, policy: IssuancePolicy) -> None:
        await self._workers.use(policy)
        await self._name_unfit()

    async def _name_unfit(self) -> None:
        try:
            unfit = await self._entries.unfit()
        except StoreError as error:
            self._log.warning("whether all entries fit their certificate profiles is not known", reason=str(error))
            return
        if unfit:
            self._log.warning(
                "entries do not fit their certificate profile, so nothing is issued under them",
                count=len(unfit),
                entries=[{"id": entry.id, "profile": entry.spec.profile} for entry in unfit[:SHOWN]],
            )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
