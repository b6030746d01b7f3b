"""sds entry import and export: entries as files of JSON lines or CSV."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError
from sds.cli.options import ExportAs, ExportFile, ExportFormat, Format, Output

_LINE = re.compile(r"lines\[(\d+)\]\.?")


@with_admin
def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `sds entry export` writes; - for standard input.")],
    admin: Admin,
    file_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="What the file is.", show_default="csv if its name ends so, else jsonl"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make the entries of a file so: all of them or, if one is refused, none. Entries that it does not name stay.

    An entry is told by its `id` or else by SPIFFE ID, parent and selectors together. `sds entry apply` takes TOML, too,
    and can delete.
    """
    from sds.cli.entry_apply import print_applied  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.files import read_bytes  # noqa: PLC0415
    from sds.cli.output import tell  # noqa: PLC0415

    chosen = file_format or (ExportFormat.CSV if file.endswith(".csv") else ExportFormat.JSONL)
    content = read_bytes(file)
    try:
        with admin.client() as client:
            applied = client.entries.import_file(content, chosen.value, dry_run=dry_run)
    except CliError as error:
        error.problems = tuple(_LINE.sub(r"line \1: ", each).replace(": :", ":") for each in error.problems)
        raise
    tell(output, applied, print_applied)


@with_admin
def export(
    admin: Admin,
    below: Annotated[
        str | None,
        typer.Option("--below", help="Only of this identity and all below it, by whole segments.", metavar="ID"),
    ] = None,
    parent_id: Annotated[str | None, typer.Option("--parent-id", help="Only of this agent.", metavar="ID")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only of this owner.", metavar="TEXT")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", callback=parameters.labels, help="Only with this label. Repeat: all.", metavar="K=V"),
    ] = None,
    export_format: ExportAs = ExportFormat.JSONL,
    file: ExportFile = None,
) -> None:
    """Write all of them, as they come: JSON lines or CSV, which `sds entry import` and `apply` read again."""
    from sds.cli.exporting import export_lines  # noqa: PLC0415

    with admin.client() as client:
        lines = client.entries.export(
            export_format.value, below=below, parent_id=parent_id, owner=owner, label=parameters.as_labels(label or ())
        )
        export_lines(lines, file)
