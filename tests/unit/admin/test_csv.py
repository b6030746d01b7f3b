"""CSV that no spreadsheet program takes for formulas."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sds.admin.wire.csv import rows, safe, unsafe

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def read(table: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.decode(), newline="")))


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x","y")',
        "+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\ufeff=1",
        "\uff1d1",
        "|x",
        "'=1",
    ],
)
def test_what_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert read(rows([[text]])) == [["'" + text]]


@pytest.mark.parametrize("text", ["", "a=b", "it's", "'tis", "spiffe://example.org/web", "a;=1+1", 'a"b', "x\r\n=1"])
def test_other_texts_are_as_they_were_and_quoted(text: str) -> None:
    made = rows([[text]])
    assert read(made) == [[text]]
    assert made.startswith(b'"')
    assert made.endswith(b'"\r\n')  # a comma or semicolon makes no new cell of it


def test_every_kind_of_value() -> None:
    when = datetime(2030, 1, 31, 12, tzinfo=UTC)
    made = rows([[None, True, 7, when, ["a", "=b"], {"k": "v", "=": "w"}], [(), {}, False, "", 1.5, ["=x"]]])
    assert read(made) == [
        ["", "true", "7", "2030-01-31T12:00:00Z", "a =b", "k=v ==w"],
        ["", "", "false", "", "1.5", "'=x"],
    ]


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=4), max_size=4))
@example([["=1", " \t'=1"]])
def test_no_cell_is_a_formula_and_all_are_found_again(table: list[list[str]]) -> None:
    found = read(rows(table))
    assert [[unsafe(cell) for cell in line] for line in found] == table
    for cell in (cell for line in found for cell in line):
        assert not cell.startswith(DANGEROUS)
        assert not cell.strip().startswith(DANGEROUS)


@given(TEXTS)
def test_unsafe_undoes_safe(text: str) -> None:
    assert unsafe(safe(text)) == text
