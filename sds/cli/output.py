"""What commands print: JSON or tables on standard output, errors on standard error. No colour outside a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format
from sds.cli.text import clean

if TYPE_CHECKING:
    from sds.client.results import Result

R = TypeVar("R", bound="Result")

_PIECE = 4096


def write(text: str) -> None:
    """Put `text` on standard output, all of it, or raise BrokenPipeError, or CliError for a full disk and the like.

    In pieces: unbuffered (PYTHONUNBUFFERED), Python drops what one system call did not take, and tells nobody.
    """
    with writable():
        for at in range(0, len(text), _PIECE):
            sys.stdout.write(text[at : at + _PIECE])
        sys.stdout.flush()


@contextmanager
def writable() -> Iterator[None]:
    """Raises CliError where standard output takes no more. A pipe whose reader is gone stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would be tried again at the end
        raise CliError(ExitCode.FAILED, f"standard output cannot be written: {error.strerror}") from None


def print_json(value: object) -> None:
    """Pure ASCII, so that it is the same under every locale."""
    write(json.dumps(value, indent=2) + "\n")


def print_json_line(value: object) -> None:
    write(json.dumps(value, separators=(",", ":")) + "\n")


def say(text: str) -> None:
    """A line for people."""
    write(clean(text) + "\n")


def note(text: str) -> None:
    """A line beside the output, on standard error."""
    sys.stderr.write(clean(text) + "\n")
    sys.stderr.flush()


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Rows under headings; `empty` on standard error if there are none, so that standard output stays empty too.

    A terminal gets long cells folded to its width; what another program reads is never cut or folded.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
    elif sys.stdout.isatty():
        write(_folded(headings, cells))
    else:
        widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
        lines = ("   ".join(map(str.ljust, row, widths)).rstrip() for row in (headings, *cells))
        write("\n".join(lines) + "\n")


def _folded(headings: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    from rich.console import Console  # noqa: PLC0415  # slow to import, and most invocations need none of it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout, highlight=False, markup=False)
    with console.capture() as captured:  # rich would end the process by itself on a broken pipe
        console.print(table)
    return captured.get()


def print_facts(facts: Iterable[tuple[str, str | Sequence[str]]]) -> None:
    """Names and values below each other; a value may have several lines."""
    pairs = [(name, [value] if isinstance(value, str) else list(value) or ["-"]) for name, value in facts]
    width = max(len(name) for name, _ in pairs)
    for name, values in pairs:
        for number, value in enumerate(values):
            say(f"{name if number == 0 else '':<{width}}  {value or '-'}")


def print_error(error: CliError, output: Format) -> None:
    if output is Format.JSON:
        sys.stderr.write(json.dumps(error.document(), indent=2) + "\n")
    else:
        note(f"Error: {error.message}")
        for each in error.problems:
            note(f"  {each}")
        if error.advice:
            note(error.advice)
    sys.stderr.flush()


def show(output: Format, found: Result, facts: Iterable[tuple[str, str | Sequence[str]]]) -> None:
    """One thing, in the format that was asked for."""
    if output is Format.JSON:
        print_json(found.document)
    else:
        print_facts(facts)


def tell(output: Format, found: R, words: Callable[[R], None]) -> None:
    """What was done or found: as it was sent, or in words."""
    if output is Format.JSON:
        print_json(found.document)
    else:
        words(found)


def show_list(
    output: Format,
    name: str,
    found: Iterable[R],
    headings: Sequence[str],
    row: Callable[[R], Sequence[str]],
    empty: str,
) -> None:
    """Many of one kind: ``{name: [...]}`` as they were sent, or a table."""
    if output is Format.JSON:
        print_json({name: [each.document for each in found]})
    else:
        print_table(headings, map(row, found), empty)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone, if there is someone to ask. Raises CliError when the answer is no."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    sys.stderr.write(f"{clean(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CliError(ExitCode.FAILED, "nothing was done")
