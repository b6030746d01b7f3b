"""A list in pages, as the store cuts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sds.admin.services import Page
from sds.store.errors import InvalidCursor

T = TypeVar("T")


def page(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    start = 0
    if cursor is not None:
        if not cursor.isdigit():
            raise InvalidCursor
        start = int(cursor)
    end = start + limit
    return Page(tuple(items[start:end]), str(end) if end < len(items) else None)
