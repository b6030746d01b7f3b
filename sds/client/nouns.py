"""What the nouns of the client share: their connection, which operation a method is, and listings page after page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from sds.client.errors import Unexpected
from sds.client.results import Result, read, tagged
from sds.client.transport.connection import Answer, Connection, Query

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound=Result)

ExportFormat = Literal["jsonl", "csv"]
FILE_TYPES: Mapping[str, str] = {"jsonl": "application/jsonl", "csv": "text/csv"}
PAGE = 500
"""Items of one page of a listing."""
OPERATION = "__sds_operation__"


def operation(name: str) -> Callable[[F], F]:
    """Marks the method that makes this call of the API (its `operation_id`)."""

    def mark(method: F) -> F:
        setattr(method, OPERATION, name)
        return method

    return mark


class Noun:
    """The calls about one kind of thing."""

    def __init__(self, connection: Connection) -> None:
        self._calls = connection

    def _get(self, kind: type[R], path: str, query: Query | None = None, *, timeout: float | None = None) -> R:
        return _made(kind, self._calls.get(path, query, timeout=timeout))

    def _post(
        self,
        kind: type[R],
        path: str,
        body: object = None,
        query: Query | None = None,
        *,
        keyed: bool = True,
        if_match: str | None = None,
        timeout: float | None = None,
    ) -> R:
        return _made(kind, self._calls.post(path, body, query, keyed=keyed, if_match=if_match, timeout=timeout))

    def _put(
        self, kind: type[R], path: str, body: object, query: Query | None = None, *, if_match: str | None = None
    ) -> R:
        return _made(kind, self._calls.put(path, body, query, if_match=if_match))

    def _delete(self, kind: type[R], path: str, query: Query | None = None, *, if_match: str | None = None) -> R:
        return _made(kind, self._calls.delete(path, query, if_match=if_match))

    def _pages(
        self, kind: type[R], path: str, items: str, query: Query | None = None, *, limit: int | None = None
    ) -> Iterator[R]:
        """Every item of a listing (at most `limit`), page after page, each asked for when it is needed."""
        left = limit
        asked: dict[str, object] = dict(query or {})
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            page = self._calls.get(path, {**asked, "limit": size}).json()
            found = page.get(items) if isinstance(page, dict) else None
            if not isinstance(found, list):
                raise Unexpected((items,))
            yield from (read(kind, each) for each in found[:left])
            if left is not None:
                left -= len(found)
            cursor = page.get("next_cursor")
            if not cursor:
                return
            if not isinstance(cursor, str) or cursor == asked.get("cursor"):
                raise Unexpected(("next_cursor",))  # it would never end
            asked["cursor"] = cursor


def _made(kind: type[R], answer: Answer) -> R:
    return tagged(read(kind, answer.json()), answer.etag)


def revision_tag(revision: int | None) -> str | None:
    """The entity tag of what has numbered revisions."""
    return None if revision is None else f'"{revision}"'
