"""One transaction: its connection, and the bookkeeping that makes it fail closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Dialect, Executable, Insert, Row, Table, func
from sqlalchemy.dialects import postgresql, sqlite

Parameters = Mapping[str, Any]


class Bulk:
    """A statement that runs for many rows given as tuples, compiled once for each dialect.

    SQLAlchemy's own path for many rows costs several microseconds a row in dictionaries; issuance cannot afford them.
    """

    __slots__ = ("_compiled", "_parameters", "_statement")

    def __init__(self, statement: Insert, parameters: Sequence[str]) -> None:
        """`parameters` names what the tuples hold, in their order."""
        self._statement = statement.inline()  # nobody reads the keys that the database gives out
        self._parameters = tuple(parameters)
        self._compiled: dict[str, str] = {}

    def sql(self, dialect: Dialect) -> str:
        """The statement's text with positional placeholders."""
        known = self._compiled.get(dialect.name)
        if known is None:
            keys = None if self._statement.select is not None else list(self._parameters)
            compiled = self._statement.compile(dialect=dialect, column_keys=keys)
            if tuple(compiled.positiontup or ()) != self._parameters:
                raise TypeError("the statement takes its parameters in another order than the rows give them")
            known = self._compiled[dialect.name] = str(compiled)
        return known


class Tx:
    """What repositories work through. Reads are free; each write says whether it needs an audit event."""

    __slots__ = (
        "_connection",
        "_dialect",
        "_writable",
        "audited",
        "feed_locked",
        "now",
        "postgres",
        "told",
        "unaudited",
    )

    def __init__(self, connection: Connection, now: datetime, *, writable: bool) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._writable = writable
        self.now = now
        self.postgres = self._dialect.name == "postgresql"
        self.unaudited: set[str] = set()  # audited tables that changed
        self.audited = False  # an audit event has been written
        self.feed_locked = False
        self.told = False  # the feed has been written to

    def rows(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        return self._connection.execute(statement, parameters).all()

    def first(self, statement: Executable, parameters: Parameters | None = None) -> Row[Any] | None:
        return self._connection.execute(statement, parameters).first()

    def scalar(self, statement: Executable, parameters: Parameters | None = None) -> Any:
        return self._connection.execute(statement, parameters).scalar()

    def run(self, statement: Executable) -> None:
        """A command that returns nothing and changes no row."""
        self._connection.execute(statement)

    def change(self, table: Table, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """A write to an audited table: the transaction must append an audit event, or it is rolled back."""
        self.unaudited.add(table.name)
        return self.note(statement, parameters)

    def note(
        self, statement: Executable, parameters: Parameters | Sequence[Parameters] | None = None
    ) -> CursorResult[Any]:
        """A write that is no decision (observations, the log itself) and needs no audit event."""
        self.check_writable()
        return self._connection.execute(statement, parameters)

    def change_many(self, table: Table, bulk: Bulk, rows: Sequence[tuple[object, ...]]) -> int:
        """Like `change` for many rows; returns how many were written."""
        self.unaudited.add(table.name)
        return self.note_many(bulk, rows)

    def note_many(self, bulk: Bulk, rows: Sequence[tuple[object, ...]]) -> int:
        """Like `note` for many rows; returns how many were written."""
        self.check_writable()
        if not rows:
            return 0
        return self._connection.exec_driver_sql(bulk.sql(self._dialect), list(rows)).rowcount

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that knows ON CONFLICT in this database's dialect."""
        return postgresql.insert(table) if self.postgres else sqlite.insert(table)

    def contains(self, column: ColumnElement[str], needle: str | ColumnElement[str]) -> ColumnElement[bool]:
        """Whether the text holds `needle`, exactly (LIKE would ignore case on SQLite and needs escapes)."""
        find = func.strpos if self.postgres else func.instr
        return find(column, needle) > 0

    def check_writable(self) -> None:
        """Raises RuntimeError in a unit of work that only reads."""
        if not self._writable:
            raise RuntimeError("a read unit of work cannot write; use Store.write")
