"""Whole listings as a file: JSON lines or CSV, a page in memory at a time, begun when the first page is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

from pydantic import ConfigDict
from starlette.responses import StreamingResponse

from sds.admin.services import Page
from sds.admin.wire import csv
from sds.admin.wire.common import Input

T = TypeVar("T")
Fetch = Callable[[str | None, int], Awaitable[Page[T]]]
"""Given a cursor, and how many rows there may be."""

FIRST_ROWS = 200
"""Of the first page: the answer begins when it is there."""
ROWS = 2000
"""Of every other page. Two of them are in memory at once: one is made while the other is sent."""
CSV_TYPE = "text/csv; charset=utf-8"
JSONL_TYPE = "application/jsonl"


class Format(Input):
    """What every export is asked for."""

    model_config = ConfigDict(strict=False)

    format: Literal["csv", "jsonl"] = "jsonl"


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """What an export of a noun looks like: `row` gives the values in the order of `columns`."""

    name: str
    columns: tuple[str, ...]
    row: Callable[[T], Sequence[object]]


TYPES = {
    "csv": ("text/csv",),
    "jsonl": (JSONL_TYPE, "application/x-ndjson"),
}
"""How a file may be declared that is sent here."""


def file_body(noun: str, what: str) -> dict[str, object]:
    """The OpenAPI description of a body that is a file."""
    schema = {"type": "string", "description": f"{noun}: {what}"}
    kinds = {kind: {"schema": schema} for kinds in TYPES.values() for kind in kinds}
    return {"requestBody": {"required": True, "content": kinds}}


DOCUMENTED: dict[str, object] = {
    "responses": {
        "200": {
            "description": "One line a row. An answer that ends without its last chunk is incomplete.",
            "content": {"text/csv": {"schema": {"type": "string"}}, JSONL_TYPE: {"schema": {"type": "string"}}},
        }
    }
}


async def export(table: Table[T], form: Literal["csv", "jsonl"], fetch: Fetch[T]) -> StreamingResponse:
    """`fetch` gives a page after a cursor. What it raises for the first page is answered as a problem; a later
    failure breaks the answer off, which HTTP shows to the client.
    """
    first = await fetch(None, FIRST_ROWS)
    return StreamingResponse(
        one_ahead(_lines(table, form, first, fetch)),
        media_type=CSV_TYPE if form == "csv" else JSONL_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{table.name}.{form}"'},
    )


async def _lines(table: Table[T], form: str, first: Page[T], fetch: Fetch[T]) -> AsyncIterator[bytes]:
    encode = _csv if form == "csv" else _jsonl
    if form == "csv":
        yield csv.rows([table.columns])
    page = first
    while True:
        if page.items:  # off the loop, which has streams to serve
            yield await asyncio.to_thread(encode, table, page.items)
        if page.next_cursor is None:
            return
        page = await fetch(page.next_cursor, ROWS)


async def one_ahead(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces; each is made while the one before it is being sent."""
    due = asyncio.create_task(_next(pieces))
    try:
        while (piece := await due) is not None:
            due = asyncio.create_task(_next(pieces))
            yield piece
    finally:  # whoever asked may have gone
        due.cancel()  # also keeps asyncio from logging a failure that nobody is left to hear


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


def _csv(table: Table[T], items: Sequence[T]) -> bytes:
    return csv.rows(map(table.row, items))


def _jsonl(table: Table[T], items: Sequence[T]) -> bytes:
    lines = [_encode(dict(zip(table.columns, table.row(each), strict=True))) for each in items]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return csv.time_text(value)
    if type(value) is MappingProxyType or isinstance(value, Mapping):  # asking the abstract class takes its time
        return dict(value)
    return str(value)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, default=_plain).encode
