"""Entries from a file: JSON lines, or CSV as an export writes it. Problems name the line that they are on."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from sds.admin import strict_json
from sds.admin.errors import FieldProblem, InvalidInput, MalformedBody
from sds.admin.services import ApplyItem
from sds.admin.wire.csv import unsafe
from sds.admin.wire.entries import MAX_PROBLEMS, Check, read_replacement
from sds.admin.wire.tables import ENTRY, ENTRY_LISTS

_INDEXED = re.compile(r"entries\[([0-9]+)\]", re.ASCII)
_SECONDS = frozenset({"x509_ttl", "jwt_ttl"})
_READ_ONLY = frozenset({"created_at", "updated_at"})
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

Line = tuple[int, object]
"""Where a record begins in the file, from 1; and the record."""


class Imported:
    """The entries of a file with the lines that they came from."""

    def __init__(self, items: Sequence[ApplyItem], lines: Sequence[int]) -> None:
        self.items = tuple(items)
        self._lines = tuple(lines)

    def on_lines(self, error: InvalidInput) -> InvalidInput:
        """The same problems, told by line: ``entries[0].owner`` is ``lines[2].owner``."""
        return InvalidInput(
            FieldProblem(_INDEXED.sub(self._line, each.field), _INDEXED.sub(self._line, each.problem))
            for each in error.problems
        )

    def _line(self, match: re.Match[str]) -> str:
        at = int(match[1])
        return f"lines[{self._lines[at]}]" if at < len(self._lines) else match[0]


def read_entries(body: bytes, form: str, check: Check, most: int) -> Imported:
    """Raises MalformedBody for what is no such file, InvalidInput with all problems of all lines (the first 100)."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the file is not UTF-8 (byte {error.start})") from None
    records = _csv_records(text) if form == "csv" else _jsonl_records(text)
    items: list[ApplyItem] = []
    lines: list[int] = []
    problems: list[FieldProblem] = []
    for count, (number, record) in enumerate(records):
        if count >= most:
            raise InvalidInput([FieldProblem("file", f"has more than {most} entries")])
        try:
            items.append(_item(record, check, f"lines[{number}]"))
            lines.append(number)
        except InvalidInput as error:
            problems += error.problems
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise InvalidInput(problems[:MAX_PROBLEMS])
    return Imported(items, lines)


def _item(record: object, check: Check, where: str) -> ApplyItem:
    if isinstance(record, FieldProblem):
        raise InvalidInput([FieldProblem(where, record.problem)])
    return read_replacement(record, check, where)


def _jsonl_records(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, strict_json.parse(line.encode(), "it")
        except MalformedBody as error:
            yield number, FieldProblem("", str(error).removeprefix("it "))


def _csv_records(text: str) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = next(reader, None)
        if not head:
            raise MalformedBody("the file is empty; its first line has the names of the columns")
        _check_head(head)
        at = reader.line_num + 1
        for cells in reader:
            if cells:
                yield at, _record(head, cells)
            at = reader.line_num + 1
    except csv.Error:
        raise MalformedBody(f"the file is not CSV (line {reader.line_num})") from None


def _check_head(head: Sequence[str]) -> None:
    if len(set(head)) != len(head):
        raise InvalidInput([FieldProblem("lines[1]", "names a column twice")])
    unknown = [number for number, name in enumerate(head, start=1) if name not in ENTRY]
    if unknown:
        raise InvalidInput([FieldProblem("lines[1]", f"column {unknown[0]} has no known name; {', '.join(ENTRY)}")])


def _record(head: Sequence[str], cells: Sequence[str]) -> object:
    if len(cells) != len(head):
        return FieldProblem("", f"has {len(cells)} cells where the first line has {len(head)}")
    record: dict[str, object] = {}
    for name, cell in zip(head, cells, strict=True):
        text = unsafe(cell)
        if not text or name in _READ_ONLY:
            continue
        if name in ENTRY_LISTS:
            record[name] = text.split("\n")
        elif name == "labels":
            pairs = [line.partition("=") for line in text.split("\n")]
            if any(not equals for _, equals, _ in pairs) or len({key for key, _, _ in pairs}) != len(pairs):
                return FieldProblem("", "labels are key=value, each on a line of its own and once")
            record[name] = {key: value for key, _, value in pairs}
        elif (name in _SECONDS or name == "revision") and _NUMBER.fullmatch(text):
            record[name] = int(text)
        else:
            record[name] = text
    return record
