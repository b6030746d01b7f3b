"""The store: a unit of work runs from start to end in one worker thread and one transaction (docs/adr/0001)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from sds.clock import Clock
from sds.store.engines import DEFAULT_LIMITS, Limits, is_sqlite, parse_url
from sds.store.feed import ChangeFeed
from sds.store.listener import Listener
from sds.store.postgres_backend import PostgresBackend
from sds.store.schema import schema_status
from sds.store.sqlite_backend import SqliteBackend
from sds.store.unit_of_work import UnitOfWork
from sds.store.wakeups import Wakeups
from sds.store.worker import Done, Work

T = TypeVar("T")


class Backend(Protocol):
    """What SQLite and PostgreSQL do differently."""

    async def write(self, work: Work[T]) -> T: ...

    async def read(self, work: Work[T]) -> T: ...

    async def close(self) -> None: ...


class Store:
    """Made by `open_store`. All methods may be called from any number of tasks and loops at once."""

    def __init__(
        self, backend: Backend, clock: Clock, wakeups: Wakeups, limits: Limits, listener: Listener | None = None
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._listener = listener
        self._wakeups = wakeups
        self._feed = ChangeFeed(self.read, wakeups, limits.poll_interval)

    async def write(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run `work` in one transaction; when this returns, it is durable.

        `work` runs in a worker thread and may run again after a rollback, so it changes nothing but the database and
        does not keep the unit of work. Cancelling the caller withdraws work that has not begun; work that has begun
        runs to its end. Raises what `work` raises (nothing is changed then), StoreUnavailable while the database
        cannot be used, UnauditedChange when audited data changed and no audit event was appended.
        """

        def run(connection: Connection) -> Done[T]:
            unit = UnitOfWork(connection, self._clock.now(), writable=True)
            value = work(unit)
            return Done(value, unit.finish())

        return await self._backend.write(run)

    async def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run `work`, which cannot write, on one snapshot of the database. Raises as `write` does."""

        def run(connection: Connection) -> Done[T]:
            return Done(work(UnitOfWork(connection, self._clock.now(), writable=False)))

        return await self._backend.read(run)

    def feed(self) -> ChangeFeed:
        """The change feed; one object serves any number of followers."""
        return self._feed

    async def close(self) -> None:
        """Finish the work that is queued, refuse any more, end followers, let go of the database. Idempotent."""
        if self._listener is not None:
            await asyncio.to_thread(self._listener.stop)
        await self._backend.close()
        self._wakeups.wake()


def open_store(url: str, *, clock: Clock, limits: Limits = DEFAULT_LIMITS) -> Store:
    """Open a database that `migrate` has prepared. Blocks for the first connection.

    Raises SchemaOutdated, SchemaTooNew, InvalidDatabaseUrl, StoreUnavailable.
    """
    parsed = parse_url(url)
    schema_status(url, limits).check()
    wakeups = Wakeups()
    if is_sqlite(parsed):
        return Store(SqliteBackend(parsed, limits, wakeups.wake), clock, wakeups, limits)
    listener = Listener(parsed, limits.connect_timeout, clock, wakeups.wake)
    return Store(PostgresBackend(parsed, limits, clock, wakeups.wake), clock, wakeups, limits, listener)
