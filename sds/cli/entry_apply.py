"""sds entry apply: make the entries as a file says, and show what that changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli import parameters
from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.entries import Applied

_INDEX = re.compile(r"entries\[(\d+)\]")
_VERBS = {"create": "created", "update": "updated", "unchanged": "unchanged", "delete": "deleted"}


@with_admin
def apply(
    file: Annotated[
        str, typer.Option("--file", "-f", help="TOML, JSON or JSON lines; - for standard input.", metavar="FILE")
    ],
    admin: Admin,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit code 7 if anything would change.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete entries that the file does not name, among those of the next options."),
    ] = False,
    owner: Annotated[str | None, typer.Option("--owner", help="Prune only entries of this owner.")] = None,
    parent_id: Annotated[str | None, typer.Option("--parent-id", help="Prune only entries of this agent.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", callback=parameters.labels, help="Prune only entries with it.", metavar="K=V"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Prune among all entries.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make the entries as FILE says: all of them or, if one is refused, none.

    An entry is told by its `id` or else by SPIFFE ID, parent and selectors together. One that carries a `revision`
    is changed only if that is still current.
    """
    from sds.cli.files import read_bytes  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import tell  # noqa: PLC0415

    scope = _scope(prune, every, owner, parent_id, label)
    entries, places = _parse(file, read_bytes(file))
    try:
        with admin.client() as client:
            applied = client.entries.apply(entries, dry_run=dry_run, prune=scope)
    except CliError as error:
        error.problems = tuple(_placed(each, places) for each in error.problems)
        raise
    tell(output, applied, print_applied)
    if dry_run and exit_code and any(each.action != "unchanged" for each in applied.changes):
        raise typer.Exit(ExitCode.DIFFERENT)


def _scope(
    prune: bool, every: bool, owner: str | None, parent_id: str | None, label: list[str] | None
) -> dict[str, Any] | None:
    filters = {
        **({} if owner is None else {"owner": owner}),
        **({} if parent_id is None else {"parent_id": parent_id}),
        **({} if not label else {"labels": parameters.as_labels(label)}),
    }
    if not prune:
        if filters or every:
            raise typer.BadParameter("--owner, --parent-id, --label and --all narrow --prune; give it too")
        return None
    if every == bool(filters):
        raise typer.BadParameter("--prune needs --owner, --parent-id or --label to say among which entries, or --all")
    return {"all": True} if every else filters


def _parse(name: str, content: bytes) -> tuple[list[Any], list[str]]:
    """The entries, and for each where it stands in the file."""
    text = _decode(name, content)
    stripped = text.lstrip()
    if name.endswith((".jsonl", ".ndjson")):
        return _json_lines(name, text)
    if name.endswith(".json") or (not name.endswith(".toml") and stripped[:1] in ("{", "[") and stripped[:2] != "[["):
        try:
            value = _json(name, text)
        except CliError:
            if name.endswith(".json") or "\n" not in stripped.strip():
                raise
            return _json_lines(name, text)  # standard input: several objects, one a line
    else:
        value = _toml(name, text)
    if isinstance(value, dict) and "entries" in value:
        others = sorted(set(value) - {"entries", "next_cursor"})
        if others:
            raise CliError(ExitCode.USAGE, f"{name}: unknown key {others[0]} beside entries")
        value = value["entries"]
    elif isinstance(value, dict) and value:
        value = [value]
    if not isinstance(value, list):
        raise CliError(ExitCode.USAGE, f"{name}: holds no entries", advice="Write a list of entries; see docs/cli.md.")
    return value, [f"entry {number}" for number in range(1, len(value) + 1)]


def _decode(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CliError(ExitCode.USAGE, f"{name}: is not UTF-8 (byte {error.start})") from None


def _json(name: str, text: str, line: int = 0) -> Any:
    from sds.admin.errors import MalformedBody  # noqa: PLC0415
    from sds.admin.strict_json import parse  # noqa: PLC0415

    where = f"{name}, line {line}" if line else name
    try:
        return parse(text.encode(), "it" if line else "the file")
    except MalformedBody as error:
        raise CliError(ExitCode.USAGE, f"{where}: {error}") from None


def _json_lines(name: str, text: str) -> tuple[list[Any], list[str]]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    return [_json(name, line, number) for number, line in lines], [f"line {number}" for number, _ in lines]


def _toml(name: str, text: str) -> Any:
    import tomllib  # noqa: PLC0415

    try:
        return _plain(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = re.search(r"\(at [^()]*\)$", str(error))  # the rest of the message may quote the file
        raise CliError(ExitCode.USAGE, f"{name}: is not TOML {where[0] if where else ''}".rstrip()) from None


def _plain(value: Any) -> Any:
    """TOML's own times as the text that JSON has for them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def _placed(problem: str, places: list[str]) -> str:
    """``entries[3].owner: ...`` with where that entry stands in the file."""
    found = _INDEX.match(problem)
    if not found or int(found[1]) >= len(places):
        return problem
    rest = problem[found.end() :].lstrip(".")
    return f"{places[int(found[1])]}: {rest.removeprefix(': ')}"


def print_applied(applied: Applied) -> None:
    """What was changed, or would be."""
    from sds.cli.output import print_table, say  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415

    rows = [
        (
            each.action,
            each.spiffe_id,
            each.parent_id,
            " ".join(each.selectors),
            "; ".join(changes_text(each.changes)),
        )
        for each in applied.changes
    ]
    print_table(("ACTION", "SPIFFE ID", "PARENT", "SELECTORS", "CHANGES"), rows, "The file holds no entries.")
    counts = {action: sum(each.action == action for each in applied.changes) for action in _VERBS}
    told = ", ".join(f"{number} {_VERBS[action]}" for action, number in counts.items())
    say(f"Dry run, nothing is changed; would be: {told}." if applied.dry_run else f"{told}.")
    expiries = [each.last_certificate_expires_at for each in applied.changes]
    if latest := max((each for each in expiries if each is not None), default=None):
        say(f"The last certificate issued under a deleted entry expires {exact(latest)}; an Envoy keeps it until then.")


def changes_text(changes: Mapping[str, Sequence[Any]]) -> list[str]:
    """A line a field: what it was, what it is to be."""
    return [f"{name}: {_short(name, old)} -> {_short(name, new)}" for name, (old, new) in changes.items()]


def _short(name: str, value: Any) -> str:
    from sds.cli.text import span  # noqa: PLC0415

    if name == "x509_ttl" and (value is None or isinstance(value, int | float)):
        return span(value)
    if value in (None, "", [], {}):
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
