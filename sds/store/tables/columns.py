"""What every table is made of: the metadata that all belong to, and the kinds of columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, Identity, Integer, MetaData, Text, TypeDecorator, text
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def storable(text: str) -> str:
    """`text` without what PostgreSQL (NUL) or UTF-8 (half surrogate pairs) cannot hold; such text never matches."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class Line(TypeDecorator[str]):
    """A text. What others sent us may hold any character; it must not fail on one database and pass on the other."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect  # the same for all
        return None if value is None else storable(value)


class Name(Line):
    """A text that is compared, ordered or indexed.

    Its order is bytewise, as SQLite has it: cursors and prefixes then mean the same whatever the database's locale.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text(collation="C") if dialect.name == "postgresql" else Text()


# What rows from before a column was added have in it.
NOTHING = text("''")
NO_ITEMS = text("'[]'")
ZERO = text("0")

# SQLite counts rows by itself only in a column that is called INTEGER; it holds 64 bits all the same.
Counter = BigInteger().with_variant(Integer(), "sqlite")


def number(name: str) -> Column[int]:
    """A number the database gives out, growing; never given twice, even when the newest rows are gone."""
    return Column(name, Counter, Identity(always=False), primary_key=True, autoincrement=True)
