"""sds agent export and sds stream export: all agents, and all that sidecars hold, as files."""

from __future__ import annotations

from typing import Any

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.fleet import options
from sds.cli.options import ExportAs, ExportFile, ExportFormat

app = typer.Typer(no_args_is_help=True, help="What every sidecar holds, as a file; `sds agent streams` shows it.")


@with_admin
@options.with_agents
def export(
    admin: Admin,
    chosen: dict[str, Any],
    export_format: ExportAs = ExportFormat.JSONL,
    file: ExportFile = None,
) -> None:
    """Write all agents, as they come: JSON lines or CSV."""
    from sds.cli.exporting import export_lines  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        export_lines(client.agents.export(export_format.value, **chosen), file)


@app.command(name="export")
@with_admin
@options.with_streams
def export_streams(
    admin: Admin,
    chosen: dict[str, Any],
    export_format: ExportAs = ExportFormat.JSONL,
    file: ExportFile = None,
) -> None:
    """Write what every sidecar holds, as it comes, a row for each resource of each stream: JSON lines or CSV."""
    from sds.cli.exporting import export_lines  # noqa: PLC0415

    with admin.client() as client:
        export_lines(client.streams.export(export_format.value, **chosen), file)
