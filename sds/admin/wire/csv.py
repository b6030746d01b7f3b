"""Tables as CSV (RFC 4180) in which no spreadsheet program finds a formula.

Names that workloads and administrators choose stand in exports; one that begins with ``=`` would be run by whoever
opens the file. Such a cell gets an apostrophe before it, and every cell is quoted, so that a program which splits at
semicolons makes no new cell out of the middle of one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

# Also behind blanks, which some programs drop, and as full-width forms, which some take for the plain ones.
_FORMULA = re.compile(r"[\s\ufeff]*'*[\s\ufeff]*[=+\-@\t\r\n|%\uff0b\uff0d\uff1d\uff20]")
_MADE_SAFE = re.compile(r"'" + _FORMULA.pattern)
_DANGEROUS_FIRST = frozenset("=+-@|%'\t\r\n \u00a0\ufeff\uff0b\uff0d\uff1d\uff20")


def safe(text: str) -> str:
    """`text`, with an apostrophe before what a spreadsheet program might take for a formula."""
    if not text:
        return text
    first = text[0]
    if first not in _DANGEROUS_FIRST and not first.isspace():  # nearly all: spares them the pattern
        return text
    return f"'{text}" if _FORMULA.match(text) else text


def unsafe(text: str) -> str:
    """What `safe` was given, when a file of ours is read again."""
    return text[1:] if text[:1] == "'" and _MADE_SAFE.match(text) else text


def rows(table: Iterable[Sequence[object]]) -> bytes:
    """Lines of CSV, each ended by CRLF, in UTF-8. None is an empty cell, times are RFC 3339, blanks join lists."""
    buffer = io.StringIO(newline="")
    write = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow
    for cells in table:
        # No formula begins with a letter or a digit, and nearly all cells do: an export has millions of them.
        texts = [cell if type(cell) is str else _text(cell) for cell in cells]
        write([text if text[:1].isalnum() else safe(text) for text in texts])
    return buffer.getvalue().encode("utf-8", "replace")


def time_text(value: datetime) -> str:
    """RFC 3339 in UTC, with a Z."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return utc.isoformat()[:-6] + "Z"


def _text(value: object) -> str:
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    return _pairs(value) if isinstance(value, Mapping) else str(value)


def _joined(value: Any) -> str:
    return " ".join(map(_text, value))


def _pairs(value: Any) -> str:
    return " ".join(f"{key}={_text(item)}" for key, item in value.items())


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    str: str,
    type(None): lambda _: "",
    bool: lambda value: "true" if value else "false",
    int: str,
    datetime: time_text,
    list: _joined,
    tuple: _joined,
}
"""By the exact type: an export has millions of cells."""
