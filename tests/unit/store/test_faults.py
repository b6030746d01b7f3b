"""Drivers' errors by their code; the drivers' texts, which can hold values, stay out."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from psycopg import errors as pg
from sqlalchemy import exc

from sds.store.errors import ConstraintViolated, Reason, StoreError, StoreUnavailable
from sds.store.faults import Fault, diagnose

CANARY = "canary-1b2c"


def sqlite_error(code: int, name: str, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> exc.DBAPIError:
    error = kind(CANARY)
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return exc.DBAPIError.instance(CANARY, {"p": CANARY}, error, sqlite3.Error)  # type: ignore[return-value]


def postgres_error(error: Exception, *, invalidated: bool = False) -> exc.DBAPIError:
    wrapped = exc.DBAPIError.instance(CANARY, {"p": CANARY}, error, psycopg.Error)
    wrapped.connection_invalidated = invalidated  # type: ignore[union-attr]
    return wrapped  # type: ignore[return-value]


def check(fault: Fault, reason: Reason, again: bool) -> None:
    assert isinstance(fault.error, StoreUnavailable)
    assert (fault.error.reason, fault.again) == (reason, again)
    assert CANARY not in f"{fault.error}{fault.error!r}"
    assert fault.lost == (reason is Reason.LOST)


@pytest.mark.parametrize(
    ("code", "name", "reason", "again"),
    [
        (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", Reason.LOCKED, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT", Reason.LOCKED, True),
        (sqlite3.SQLITE_LOCKED, "SQLITE_LOCKED", Reason.LOCKED, True),
        (sqlite3.SQLITE_FULL, "SQLITE_FULL", Reason.FULL, False),
        (sqlite3.SQLITE_IOERR_SHMSIZE, "SQLITE_IOERR_SHMSIZE", Reason.FULL, False),
        (sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC", Reason.IO, False),
        (sqlite3.SQLITE_IOERR, "SQLITE_IOERR", Reason.IO, False),
        (sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN", Reason.IO, False),
        (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", Reason.READ_ONLY, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, "SQLITE_READONLY_DBMOVED", Reason.READ_ONLY, False),
        (sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT", Reason.CORRUPT, False),
        (sqlite3.SQLITE_NOTADB, "SQLITE_NOTADB", Reason.CORRUPT, False),
        (sqlite3.SQLITE_NOMEM, "SQLITE_NOMEM", Reason.BUSY, False),
    ],
)
def test_sqlite(code: int, name: str, reason: Reason, again: bool) -> None:
    fault = diagnose(sqlite_error(code, name))
    check(fault, reason, again)
    assert name in str(fault.error)


@pytest.mark.parametrize(
    ("error", "reason", "again"),
    [
        (pg.SerializationFailure, Reason.LOCKED, True),
        (pg.DeadlockDetected, Reason.LOCKED, True),
        (pg.LockNotAvailable, Reason.LOCKED, True),
        (pg.DiskFull, Reason.FULL, False),
        (pg.OutOfMemory, Reason.BUSY, False),
        (pg.TooManyConnections, Reason.BUSY, False),
        (pg.QueryCanceled, Reason.BUSY, False),
        (pg.ReadOnlySqlTransaction, Reason.READ_ONLY, False),
        (pg.IoError, Reason.IO, False),
        (pg.DataCorrupted, Reason.CORRUPT, False),
        (pg.AdminShutdown, Reason.LOST, True),
        (pg.CrashShutdown, Reason.LOST, True),
        (pg.CannotConnectNow, Reason.LOST, True),
        (pg.ConnectionFailure, Reason.LOST, True),
        (psycopg.OperationalError, Reason.LOST, True),  # libpq: no code
    ],
)
def test_postgresql(error: type[psycopg.Error], reason: Reason, again: bool) -> None:
    check(diagnose(postgres_error(error(CANARY))), reason, again)


def test_a_broken_connection_counts_whatever_the_code() -> None:
    check(diagnose(postgres_error(psycopg.DataError(CANARY), invalidated=True)), Reason.LOST, again=True)


def test_an_exhausted_pool() -> None:
    check(diagnose(exc.TimeoutError(CANARY)), Reason.BUSY, again=False)


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE, "SQLITE_CONSTRAINT_UNIQUE", sqlite3.IntegrityError),
        postgres_error(pg.UniqueViolation(CANARY)),
        postgres_error(pg.ForeignKeyViolation(CANARY)),
    ],
)
def test_constraints(error: exc.DBAPIError) -> None:
    fault = diagnose(error)
    assert isinstance(fault.error, ConstraintViolated)
    assert not fault.again
    assert CANARY not in f"{fault.error}{fault.error!r}"


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_ERROR, "SQLITE_ERROR"),
        exc.DBAPIError.instance("s", {}, sqlite3.ProgrammingError(CANARY), sqlite3.Error),
        postgres_error(pg.SyntaxError(CANARY)),
        postgres_error(psycopg.DataError(CANARY)),
        exc.ArgumentError(CANARY),
    ],
)
def test_anything_else_is_our_own_mistake(error: exc.SQLAlchemyError) -> None:
    fault = diagnose(error)
    assert type(fault.error) is StoreError
    assert "bug" in str(fault.error)
    assert CANARY not in f"{fault.error}{fault.error!r}"
