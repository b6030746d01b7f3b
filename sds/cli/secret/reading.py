"""Where the fields of a value are read from, and reading them. What is read is masked and shown by nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from ca.masked import Masked
from sds.cli.errors import CliError, ExitCode
from sds.cli.files import STDIN, read_bytes

_PROMPT = ""
"""Instead of a path: typed at the terminal."""
LONGEST_LINE = 4095
"""Bytes that a terminal gives of one line; it swallows the rest without a word (termios(3), canonical mode)."""
_FIELDS = "write --field NAME=@FILE, for each of its fields"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says: a path each, ``-`` for standard input, "" to be asked."""

    whole: str | None
    fields: Mapping[str, str]
    chain: str | None
    key: str | None

    def misfit(self, kind: str) -> str:
        """Why this cannot be a value of that kind; empty if it can."""
        pair = self.chain is not None or self.key is not None
        match kind:
            case "generic" | "ca_bundle":
                if self.fields or pair:
                    return "write --file FILE, or - for standard input"
                if kind == "ca_bundle" and self.whole is None:
                    return "write --file FILE with its certificates, or - for standard input"
            case "certificate":
                if self.whole is not None or self.fields or self.chain is None or self.key is None:
                    return "write --chain FILE and --key FILE"
            case _:
                if self.whole is not None or pair or not self.fields:
                    return _FIELDS
        return ""

    def by_field(self, kind: str) -> Mapping[str, str]:
        """The server's field names. Expects that it fits."""
        if kind == "certificate":
            return {"chain": self.chain or "", "private_key": self.key or ""}
        if kind in ("generic", "ca_bundle"):
            return {"ca" if kind == "ca_bundle" else "": _PROMPT if self.whole is None else self.whole}
        return self.fields


def given(
    source: Sequence[str] | None,
    file: Path | None,
    field: Sequence[str] | None,
    chain: Path | None,
    key: Path | None,
) -> Given:
    """Raises typer.BadParameter, which repeats nothing of a field: what stands there may be a value."""
    whole = STDIN if source else None
    if file is not None:
        if whole is not None:
            raise typer.BadParameter("give --file or -, not both")
        whole = str(file)
    fields: dict[str, str] = {}
    for number, text in enumerate(field or (), start=1):
        name, equals, place = text.partition("=")
        if equals and (not place.startswith("@") or len(place) < 2):
            raise typer.BadParameter(
                f"--field number {number} has a value on the command line, which the process list and the shell's "
                "history show: write NAME=@FILE, or NAME to be asked for it. If that was one, it is known now; "
                "choose another."
            )
        if not name or name in fields:
            raise typer.BadParameter(f"--field number {number} must have a name of its own, before the =")
        fields[name] = place[1:] if equals else _PROMPT
    found = Given(whole, fields, None if chain is None else str(chain), None if key is None else str(key))
    places = [found.whole, *fields.values(), found.chain, found.key]
    if places.count(STDIN) > 1:
        raise typer.BadParameter("only one can come from standard input")
    if places.count(STDIN) and _PROMPT in places:
        raise typer.BadParameter("standard input cannot have a value and be asked for another")
    return found


def read(kind: str, given: Given, *, chomp: bool) -> Mapping[str, Masked[bytes]]:
    """All fields. Raises CliError."""
    return {
        name: _typed(name) if place == _PROMPT else _from_file(name, place, kind, chomp=chomp)
        for name, place in given.by_field(kind).items()
    }


def _from_file(name: str, place: str, kind: str, *, chomp: bool) -> Masked[bytes]:
    from sds.cli.output import note  # noqa: PLC0415

    raw = read_bytes(place)
    if chomp:
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    elif raw.endswith(b"\n") and kind in ("generic", "map"):
        what = f"field {name}" if name else "the value"
        note(f"Note: {what} ends with a line's end, which is kept; --chomp leaves it out.")
    if not raw:
        raise CliError(ExitCode.USAGE, f"{'standard input' if place == STDIN else place} is empty")
    return Masked(raw)


def _typed(name: str) -> Masked[bytes]:
    """Asked for twice, without echo."""
    if not sys.stdin.isatty():
        raise CliError(
            ExitCode.USAGE,
            "there is no terminal to ask for the value at",
            advice="Give --file FILE, or - to read it from standard input.",
        )
    what = f"Field {name}" if name else "Value"
    first = _ask(f"{what} (not shown): ")
    if _ask("Once more: ").reveal() != first.reveal():
        raise CliError(ExitCode.FAILED, "the two differ; nothing was written")
    return first


def _ask(prompt: str) -> Masked[bytes]:
    import termios  # noqa: PLC0415

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.buffer.readline()
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        sys.stderr.write("\n")
        sys.stderr.flush()
    line = line.removesuffix(b"\n")
    if not line:
        raise CliError(ExitCode.FAILED, "nothing was typed; nothing was written")
    if len(line) >= LONGEST_LINE:
        raise CliError(ExitCode.USAGE, "that is longer than a terminal's line; nothing was written", advice=_LONG)
    return Masked(line)


_LONG = "Give --file FILE, or - for standard input."
