"""sds audit verify: that the log is what was signed, and only ever grew. Everything is recomputed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.audit.verify import ExportVerifier, Verdict
    from sds.cli.audit.state import State
    from sds.client import Client
    from sds.client.audit import Verdict as Said

_TELL_EVERY = 5000
SHOWN = 50
"""Problems that are printed for people; JSON has all that are named."""


@with_admin
def verify(
    admin: Admin,
    export: Annotated[
        Path | None, typer.Option("--export", help="Verify this export (JSON Lines), offline.", metavar="FILE")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="A checkpoint that was kept elsewhere. Repeatable.", metavar="FILE"),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A verifier key to trust, NAME+ID+KEY. Repeatable.", metavar="KEY"),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", envvar="SDS_AUDIT_STATE_FILE", help="Where keys and checkpoint are remembered.", metavar="FILE"
        ),
    ] = None,
    forget: Annotated[bool, typer.Option("--no-state", help="Neither use nor keep what is remembered.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Verify every event, hash and signature of the log; exit code 10 if it is not what was signed.

    What is remembered from the last time, or given by --checkpoint, proves that history was only appended to.
    """
    from sds.audit.verify import ExportVerifier  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.audit.state import open_state  # noqa: PLC0415

    remembered = None if forget or export is not None else open_state(admin, state)
    notes = [_note(path) for path in checkpoint or ()]
    trusted = _keys(key or (), remembered)
    if remembered is not None and remembered.checkpoint:
        notes.append(remembered.checkpoint)
    verifier = ExportVerifier(trusted, notes)
    said = None
    if export is not None:
        _feed(verifier, _lines(export))
    else:
        said = _live(admin, verifier, notes)
    verdict = _verdict(verifier)
    if verdict.ok and (said is None or said.ok) and remembered is not None and verdict.checkpoint is not None:
        _remember(remembered, verdict, client_note=verifier.note)
    _print(verdict, said, first_use=not trusted, output=output)
    if not verdict.ok or (said is not None and not said.ok):
        raise CliError(ExitCode.UNPROVED, "the audit log is not what was signed")


def _live(admin: Admin, verifier: ExportVerifier, notes: list[str]) -> Said:
    """The log as it comes, and then what the server finds in its own rows, which no export can show."""
    with admin.client() as client:
        _feed(verifier, client.audit.export())
        _prove_early(client, verifier)
        return client.audit.verify(notes)


def _keys(texts: Iterable[str], remembered: State | None) -> list[Any]:
    from sds.audit.note import InvalidNote, parse_vkey  # noqa: PLC0415

    given = list(texts) or ([] if remembered is None else remembered.keys)
    try:
        return [parse_vkey(text) for text in given]
    except InvalidNote as error:
        raise CliError(ExitCode.USAGE, f"--key: {error}") from None


def _note(path: Path) -> str:
    from sds.audit.checkpoint import unverified_checkpoint  # noqa: PLC0415
    from sds.audit.note import MAX_NOTE_BYTES, InvalidNote  # noqa: PLC0415

    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_NOTE_BYTES + 1)
        unverified_checkpoint(raw)
        return raw.decode()
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"--checkpoint: {path} cannot be read: {error.strerror}") from None
    except InvalidNote as error:
        raise CliError(ExitCode.USAGE, f"--checkpoint: {path} holds none: {error}") from None


def _lines(path: Path) -> Iterator[bytes]:
    from sds.audit.export import LONGEST_LINE  # noqa: PLC0415

    try:
        with path.open("rb") as stream:
            while line := stream.readline(LONGEST_LINE + 1):
                if not line.endswith(b"\n"):
                    raise CliError(ExitCode.UNPROVED, f"{path} ends in the middle of a line, or has one without end")
                yield line[:-1]
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"--export: {path} cannot be read: {error.strerror}") from None


def _feed(verifier: ExportVerifier, lines: Iterable[bytes]) -> None:
    import sys  # noqa: PLC0415

    from sds.audit.export import InvalidExport  # noqa: PLC0415

    told = sys.stderr.isatty()
    try:
        for count, line in enumerate(lines):
            verifier.feed(line)
            if told and count % _TELL_EVERY == 0:
                sys.stderr.write(f"\r{count} of {verifier.expected} events")
                sys.stderr.flush()
    except InvalidExport as error:
        raise CliError(ExitCode.UNPROVED, str(error)) from None
    finally:
        if told:
            sys.stderr.write("\r\x1b[K")


def _prove_early(client: Client, verifier: ExportVerifier) -> None:
    """What is remembered from before the first event that is kept: the log itself can prove that it still holds."""
    import base64  # noqa: PLC0415

    from sds.client.errors import Refused  # noqa: PLC0415

    for each in list(verifier.early):
        try:
            path = client.audit.consistency(each.size, verifier.expected).path
            verifier.prove(each, [base64.b64decode(step, validate=True) for step in path])
        except (Refused, ValueError):
            continue  # it stays unproved, which the verdict says


def _verdict(verifier: ExportVerifier) -> Verdict:
    from sds.audit.export import InvalidExport  # noqa: PLC0415

    try:
        return verifier.verdict()
    except InvalidExport as error:
        raise CliError(ExitCode.UNPROVED, str(error)) from None


def _remember(state: State, verdict: Verdict, *, client_note: str) -> None:
    state.keys = [key.text for key in verdict.keys]
    state.checkpoint = client_note
    state.save()


def _print(verdict: Verdict, said: Said | None, *, first_use: bool, output: Format) -> None:
    from sds.cli.output import print_json, print_table, say  # noqa: PLC0415

    ours = [(one.kind.value, one.leaf, one.sequence, one.what) for one in verdict.findings.problems]
    theirs = [] if said is None else [(one.kind, one.leaf, one.sequence, one.what) for one in said.problems]
    problems = list(dict.fromkeys([*ours, *theirs]))
    more = verdict.findings.more + (0 if said is None else said.more)
    ok = verdict.ok and (said is None or said.ok)
    origin = "" if verdict.checkpoint is None else verdict.checkpoint.origin
    if output is Format.JSON:
        named = [{"kind": kind, "leaf": leaf, "sequence": seq, "what": what} for kind, leaf, seq, what in problems]
        body = {"ok": ok, "origin": origin, "size": verdict.size, "events": verdict.events, "problems": named}
        print_json({**body, "more": more, "keys": [key.text for key in verdict.keys], "first_use": first_use})
        return
    if problems:
        rows = [(kind, _text(leaf), _text(seq), what) for kind, leaf, seq, what in problems[:SHOWN]]
        print_table(("PROBLEM", "LEAF", "SEQUENCE", "WHAT"), rows, "")
        if more + len(problems) > SHOWN:
            say(f"... and {more + max(0, len(problems) - SHOWN)} more")
    if ok:
        kept = verdict.size - verdict.events
        gone = f" (of {kept} more only the hashes are kept)" if kept else ""
        say(f"The log {origin} is what was signed: {verdict.events} events{gone}, checkpoint {verdict.size}.")
        if first_use:
            say("Its keys were taken from itself, as this is the first time; compare them: sds audit keys")


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
