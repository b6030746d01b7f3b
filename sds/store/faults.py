"""What a driver's error means, by its code alone: driver texts can hold values and are never passed on."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import psycopg
from sqlalchemy import exc

from sds.store.errors import ConstraintViolated, Reason, StoreError, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Fault:
    """`error` is what callers see. `again`: the transaction did not happen, and trying again may well succeed."""

    error: StoreError
    again: bool = False

    @property
    def lost(self) -> bool:
        return isinstance(self.error, StoreUnavailable) and self.error.reason is Reason.LOST


_SQLITE = {  # https://sqlite.org/rescode.html, primary result codes
    sqlite3.SQLITE_BUSY: Reason.LOCKED,
    sqlite3.SQLITE_LOCKED: Reason.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Reason.LOCKED,
    sqlite3.SQLITE_FULL: Reason.FULL,
    sqlite3.SQLITE_IOERR: Reason.IO,
    sqlite3.SQLITE_CANTOPEN: Reason.IO,
    sqlite3.SQLITE_PERM: Reason.IO,
    sqlite3.SQLITE_READONLY: Reason.READ_ONLY,
    sqlite3.SQLITE_NOMEM: Reason.BUSY,
    sqlite3.SQLITE_INTERRUPT: Reason.BUSY,
    sqlite3.SQLITE_CORRUPT: Reason.CORRUPT,
    sqlite3.SQLITE_NOTADB: Reason.CORRUPT,
}
# In WAL mode these are how a full disk shows when the shared-memory file cannot grow.
_SQLITE_FULL = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_WRITE})

_POSTGRES = {  # PostgreSQL documentation, appendix A; a class of two characters stands for all of it
    "40001": Reason.LOCKED,  # serialization_failure
    "40P01": Reason.LOCKED,  # deadlock_detected
    "55P03": Reason.LOCKED,  # lock_not_available (lock_timeout)
    "53100": Reason.FULL,
    "53": Reason.BUSY,  # out of memory, too many connections
    "57014": Reason.BUSY,  # query_canceled (statement_timeout)
    "25006": Reason.READ_ONLY,
    "58": Reason.IO,
    "XX001": Reason.CORRUPT,
    "XX002": Reason.CORRUPT,
    "08": Reason.LOST,
    "57P": Reason.LOST,  # shut down, crashed, starting
    "25P03": Reason.LOST,  # idle_in_transaction_session_timeout
}
_AGAIN = frozenset({"40001", "40P01", "55P03"})


def diagnose(error: exc.SQLAlchemyError) -> Fault:
    """The fault behind an error of SQLAlchemy."""
    if isinstance(error, exc.TimeoutError):  # the pool is exhausted
        return Fault(StoreUnavailable(Reason.BUSY, "pool"))
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    if isinstance(original, sqlite3.Error):
        return _sqlite(original)
    if isinstance(original, psycopg.Error):
        return _postgres(original, disconnected=isinstance(error, exc.DBAPIError) and error.connection_invalidated)
    return Fault(StoreError(f"the database layer failed ({type(error).__name__}); this is a bug"))


def _sqlite(error: sqlite3.Error) -> Fault:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # the module's own complaints carry none
        return Fault(StoreError(f"the database driver failed ({type(error).__name__}); this is a bug"))
    name = str(error.sqlite_errorname)
    if code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        return Fault(ConstraintViolated(name))
    if code in _SQLITE_FULL:
        return Fault(StoreUnavailable(Reason.FULL, name))
    reason = _SQLITE.get(code & 0xFF)
    if reason is None:
        return Fault(StoreError(f"the database failed ({name}); this is a bug"))
    return Fault(StoreUnavailable(reason, name), again=reason is Reason.LOCKED)


def _postgres(error: psycopg.Error, *, disconnected: bool) -> Fault:
    state = error.sqlstate
    if state is None or disconnected:
        # libpq reports a connection that cannot be made or breaks without a code.
        if disconnected or isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return Fault(StoreUnavailable(Reason.LOST, state or ""), again=True)
        return Fault(StoreError(f"the database driver failed ({type(error).__name__}); this is a bug"))
    if state.startswith("23"):  # integrity constraint violation
        return Fault(ConstraintViolated(error.diag.constraint_name or state))
    for length in (5, 3, 2):
        reason = _POSTGRES.get(state[:length])
        if reason is not None:
            return Fault(StoreUnavailable(reason, state), again=state in _AGAIN or reason is Reason.LOST)
    return Fault(StoreError(f"the database failed (SQLSTATE {state}); this is a bug"))
