"""Pages of a listing in one of several orders: by keys, so that what comes and goes meanwhile moves nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, tuple_

from sds.store.codec import make_cursor, read_cursor
from sds.store.errors import InvalidCursor
from sds.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Order:
    """By these columns, the last of which makes each row unique; none may be NULL. `down`: the highest comes first."""

    name: str
    columns: tuple[ColumnElement[Any], ...]
    kinds: tuple[type[str | int], ...]
    down: bool = False


def both_ways(
    name: str, columns: tuple[ColumnElement[Any], ...], kinds: tuple[type[str | int], ...]
) -> dict[str, Order]:
    """The order by its name, and with a minus before that the other way round."""
    return {name: Order(name, columns, kinds), f"-{name}": Order(f"-{name}", columns, kinds, down=True)}


def page(
    tx: Tx, statement: Select[Any], order: Order, *, cursor: str | None, limit: int
) -> tuple[Sequence[Row[Any]], str | None]:
    """At most `limit` rows after the cursor, and the next cursor. Raises InvalidCursor, also for another order's."""
    for number, column in enumerate(order.columns):
        statement = statement.add_columns(column.label(f"place_{number}"))
    if cursor is not None:
        name, *after = read_cursor(cursor, str, *order.kinds)
        if name != order.name:
            raise InvalidCursor
        place = tuple_(*order.columns)
        statement = statement.where(place < tuple(after) if order.down else place > tuple(after))
    by = (column.desc() if order.down else column.asc() for column in order.columns)
    rows = tx.rows(statement.order_by(*by).limit(limit + 1))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    places = (getattr(last, f"place_{number}") for number in range(len(order.columns)))
    return rows[:limit], make_cursor(order.name, *places)
