"""SQLite: one thread writes, a few read.

Group commit: writes that arrive while a transaction is being made durable share the next one. Each has a savepoint of
its own, so that one that fails takes back only its own changes, and nobody hears of success before the COMMIT.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from sds.store.engines import Limits, sqlite_engine
from sds.store.errors import Reason, StoreUnavailable
from sds.store.faults import diagnose
from sds.store.worker import Done, Job, Outcome, Work, settle

T = TypeVar("T")


class SqliteBackend:
    """A database file of this process. A second process may write too: `Limits.lock_timeout` bounds the wait."""

    def __init__(self, url: URL, limits: Limits, on_change: Callable[[], None]) -> None:
        """`on_change` is called, from the writer's thread, after each commit that changed the feed."""
        self._limits = limits
        self._on_change = on_change
        self._writer = sqlite_engine(url, limits, readers=0)
        self._reader = sqlite_engine(url, limits, readers=limits.readers)
        self._path = Path(url.database or "")
        self._file = _file_at(self._path)
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._readers = ThreadPoolExecutor(limits.readers, thread_name_prefix="sds-store-read")
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="sds-store-write", daemon=True)
        self._thread.start()

    async def write(self, work: Work[T]) -> T:
        job = Job(work)
        self._enqueue(job)
        return await job.future

    async def read(self, work: Work[T]) -> T:
        if self._closed:
            raise StoreUnavailable(Reason.CLOSED)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """Finish what is queued, then let go of the file."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._writer.dispose()
        self._reader.dispose()

    def _enqueue(self, job: Job[T]) -> None:
        with self._closing:  # nothing may be queued behind the end
            if self._closed:
                raise StoreUnavailable(Reason.CLOSED)
            self._queue.put(job)

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that was deleted, and all of it would be lost. Raises StoreUnavailable."""
        if self._file is None or _file_at(self._path) != self._file:
            raise StoreUnavailable(Reason.REPLACED)

    def _read(self, work: Work[T]) -> T:
        self._check_file()
        try:
            with self._reader.connect() as connection, connection.begin():
                return work(connection).value
        except SQLAlchemyError as error:
            fault = diagnose(error)
        raise fault.error  # outside the handler: the driver's error, and its text, stay behind

    def _write_all(self) -> None:
        """The writer's thread: until closed, take what has piled up and commit it."""
        while (first := self._queue.get()) is not None:
            jobs, last = self._pile(first)
            settle(self._commit(jobs))
            if last:
                break

    def _pile(self, first: Job[Any]) -> tuple[list[Job[Any]], bool]:
        jobs = [first]
        while len(jobs) < self._limits.max_group and not self._queue.empty():
            job = self._queue.get()
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _commit(self, jobs: list[Job[Any]]) -> list[Outcome[Any]]:
        """The outcome of each job, all durable. If the transaction itself fails, each job gets one of its own."""
        try:
            outcomes = self._transaction(jobs)
        except BaseException as error:  # noqa: BLE001 - whatever happens, the callers must hear of it
            if len(jobs) == 1:
                return [(jobs[0], error)]
            if isinstance(error, StoreUnavailable) and error.reason is Reason.LOCKED:  # all have waited already
                return [(job, StoreUnavailable(error.reason, error.code)) for job in jobs]
            # One of them may have broken it for all, and a full disk may still hold the smaller ones.
            return [outcome for job in jobs for outcome in self._commit([job])]
        if any(isinstance(outcome, Done) and outcome.wake for _, outcome in outcomes):
            self._on_change()
        return outcomes

    def _transaction(self, jobs: list[Job[Any]]) -> list[Outcome[Any]]:
        """All jobs in one transaction. Whatever this raises, none of it has happened."""
        self._check_file()
        try:
            with self._writer.connect() as connection, connection.begin():
                return [(job, self._run(connection, job)) for job in jobs if not job.abandoned]
        except SQLAlchemyError as error:
            fault = diagnose(error)
        raise fault.error

    def _run(self, connection: Connection, job: Job[T]) -> Done[T] | BaseException:
        """One job under its savepoint. An error that ended the whole transaction is raised, others are returned."""
        connection.exec_driver_sql("SAVEPOINT job")
        outcome: Done[T] | BaseException
        try:
            outcome = job.work(connection)
        except BaseException as error:
            if not _in_transaction(connection):  # SQLite takes all back when the disk is full or fails
                raise
            connection.exec_driver_sql("ROLLBACK TO job")
            outcome = diagnose(error).error if isinstance(error, SQLAlchemyError) else error
        connection.exec_driver_sql("RELEASE job")
        return outcome


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file a path names now: its device and inode; None for none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _in_transaction(connection: Connection) -> bool:
    return bool(connection.connection.dbapi_connection and connection.connection.dbapi_connection.in_transaction)
