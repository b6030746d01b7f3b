"""PostgreSQL: transactions of their own, in two bounded sets of threads, so that reading cannot starve issuing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from sds.clock import Clock
from sds.store.engines import Limits, postgres_engine
from sds.store.errors import Reason, StoreUnavailable
from sds.store.faults import Fault, diagnose
from sds.store.worker import Done, Work

T = TypeVar("T")

FIRST_DELAY = 0.01  # seconds before the second try; doubles with each
MAX_DELAY = 1.0
LOST_TRIES = 3  # a restarted server has broken every pooled connection; a server that is away stays away


class PostgresBackend:
    """A database that other replicas use, too."""

    def __init__(self, url: URL, limits: Limits, clock: Clock, on_change: Callable[[], None]) -> None:
        """`on_change` is called, from a worker thread, after each commit here that changed the feed."""
        self._limits = limits
        self._clock = clock
        self._on_change = on_change
        self._engine = postgres_engine(url, limits)
        # One snapshot for all statements of a unit of work that reads.
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writers = ThreadPoolExecutor(limits.writers, thread_name_prefix="sds-store-write")
        self._readers = ThreadPoolExecutor(limits.readers, thread_name_prefix="sds-store-read")
        self._closing = threading.Event()

    async def write(self, work: Work[T]) -> T:
        return await self._in(self._writers, partial(self._write, work))

    async def read(self, work: Work[T]) -> T:
        return await self._in(self._readers, partial(self._read, work))

    async def close(self) -> None:
        """Finish what is queued (tried once, if the server is away), then let go of the connections."""
        self._closing.set()
        for executor in (self._writers, self._readers):
            await asyncio.to_thread(executor.shutdown)
        self._engine.dispose()

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if self._closing.is_set():
            raise StoreUnavailable(Reason.CLOSED)
        return await asyncio.get_running_loop().run_in_executor(executor, call)

    def _write(self, work: Work[T]) -> T:
        done = self._retried(partial(self._transaction, work))
        if done.wake:
            self._on_change()
        return done.value

    def _read(self, work: Work[T]) -> T:
        return self._retried(partial(self._snapshot, work)).value

    def _retried(self, attempt: Callable[[], Done[T] | Fault]) -> Done[T]:
        """Try until it works or cannot. Raises what the last try found."""
        tries = 0
        while isinstance(outcome := attempt(), Fault):
            tries += 1
            allowed = LOST_TRIES if outcome.lost else self._limits.tries
            if not outcome.again or tries >= allowed:
                raise outcome.error
            delay = min(MAX_DELAY, FIRST_DELAY * 2 ** (tries - 1)) * (0.5 + self._clock.jitter())
            if self._closing.wait(delay):
                raise outcome.error
        return outcome

    def _snapshot(self, work: Work[T]) -> Done[T] | Fault:
        try:
            with self._snapshots.connect() as connection, connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            return diagnose(error)

    def _transaction(self, work: Work[T]) -> Done[T] | Fault:
        committing = False
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                done = work(connection)
                committing = True
                transaction.commit()
                return done
        except SQLAlchemyError as error:
            fault = diagnose(error)
        if committing and fault.lost and isinstance(fault.error, StoreUnavailable):
            # The commit may have happened: running the work again could do it twice.
            return Fault(StoreUnavailable(Reason.LOST, fault.error.code, uncertain=True))
        return fault
