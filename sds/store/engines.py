"""How connections are made: SQLite files safe and durable, PostgreSQL through psycopg 3 and SQLAlchemy's pool."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from sds.store.errors import InvalidDatabaseUrl, Reason, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, in seconds and counts. `lock_timeout` is how long a write waits for other writers before it gives up."""

    lock_timeout: float = 5.0
    statement_timeout: float = 30.0
    connect_timeout: int = 5
    readers: int = 4
    writers: int = 4  # PostgreSQL; SQLite has one
    max_group: int = 64  # writes that share one transaction on SQLite
    tries: int = 8  # of a transaction that collides with others
    poll_interval: float = 1.0  # of the change feed, where no notification arrives


DEFAULT_LIMITS = Limits()

_OS_ERRORS = {errno.ENOSPC: Reason.FULL, errno.EDQUOT: Reason.FULL, errno.EROFS: Reason.READ_ONLY}


def parse_url(text: str) -> URL:
    """``sqlite:////absolute/path`` or ``postgresql://...``. Raises InvalidDatabaseUrl."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidDatabaseUrl(
            "the database URL is malformed; write e.g. sqlite:////path or postgresql://host/name"
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise InvalidDatabaseUrl("the SQLite URL must name a file: sqlite:////absolute/path")
        return URL.create("sqlite+pysqlite", database=url.database)
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise InvalidDatabaseUrl("the database must be SQLite (sqlite:////path) or PostgreSQL (postgresql://...)")


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def sqlite_engine(url: URL, limits: Limits, *, readers: int) -> Engine:
    """`readers` connections that cannot write, or with 0 the one that writes."""
    if not url.database:
        raise InvalidDatabaseUrl("the SQLite URL must name a file")
    _private_file(Path(url.database))
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=readers or 1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": limits.lock_timeout, "cached_statements": 256},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves; the module would commit around DDL
        for pragma in (
            "journal_mode=WAL",
            "wal_autocheckpoint=4000",  # 16 MiB: certificates scatter over index pages, which is cheaper in larger lots
            "synchronous=FULL",  # in WAL mode anything less loses acknowledged commits on power failure
            "foreign_keys=ON",
            "trusted_schema=OFF",
            "temp_store=MEMORY",
            f"query_only={'ON' if readers else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    begin_statement = "BEGIN" if readers else "BEGIN IMMEDIATE"  # a writer that upgrades late could only fail

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin_statement)

    return engine


def postgres_engine(url: URL, limits: Limits) -> Engine:
    """A pool that serves all worker threads; commits are synchronous whatever the server's default says."""
    engine = create_engine(
        url,
        hide_parameters=True,
        paramstyle="format",
        pool_size=limits.readers + limits.writers,
        max_overflow=0,
        pool_timeout=limits.lock_timeout,
        pool_recycle=1800,
        connect_args={"connect_timeout": limits.connect_timeout, "application_name": "sds", "keepalives_idle": 30},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: psycopg.Connection[Any], _record: Any) -> None:
        milliseconds = {
            "lock_timeout": limits.lock_timeout,
            "statement_timeout": limits.statement_timeout,
            "idle_in_transaction_session_timeout": 2 * limits.statement_timeout,
        }
        connection.autocommit = True
        for name, seconds in milliseconds.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, str(int(seconds * 1000))))
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.autocommit = False

    return engine


def _private_file(path: Path) -> None:
    """The database file belongs to its owner alone (0600), and so does the folder if we make it (0700).

    SQLite gives its side files (-wal, -shm) the mode of the database file. Raises StoreUnavailable.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreUnavailable(
            _OS_ERRORS.get(error.errno or 0, Reason.IO), errno.errorcode.get(error.errno or 0, "")
        ) from error


def connect_arguments(url: URL, connect_timeout: int) -> dict[str, Any]:
    """For a psycopg connection outside the pool."""
    dialect = url.get_dialect()()
    _, arguments = dialect.create_connect_args(url)
    return {**arguments, "connect_timeout": connect_timeout, "application_name": "sds listener", "keepalives_idle": 30}
