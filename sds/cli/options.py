"""Options that many commands share. Importing this must stay cheap: `sds --help` imports all commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

SERVER_SOCKET = Path("/var/lib/sds/server/admin.sock")
AGENT_SOCKET = Path("/var/lib/sds/agent/admin.sock")


ADMIN_PANEL = "Admin API"
"""Of the help: where the options stand that nearly every command has."""


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def _remember(context: typer.Context, value: Format) -> Format:
    """So that an error is told in the format that was asked for."""
    context.find_root().obj = value
    return value


Output = Annotated[
    Format,
    typer.Option("--output", "-o", callback=_remember, help="A table for people, or JSON for programs."),
]
AdminSocket = Annotated[
    Path,
    typer.Option(
        "--admin-socket",
        envvar="SDS_ADMIN_SOCKET",
        help="The server's admin socket.",
        metavar="PATH",
        rich_help_panel=ADMIN_PANEL,
    ),
]
AgentSocket = Annotated[
    Path,
    typer.Option(
        "--admin-socket",
        envvar=["SDS_AGENT_ADMIN_SOCKET", "SDS_ADMIN_SOCKET"],
        help="The agent's own admin socket, in its data folder.",
        metavar="PATH",
        rich_help_panel=ADMIN_PANEL,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would hit.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. It is asked at a terminal only.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Name each admin API call, on standard error.", rich_help_panel=ADMIN_PANEL),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file; docs/config.md lists its keys.", metavar="FILE"),
]


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


ExportAs = Annotated[
    ExportFormat,
    typer.Option("--format", help="JSON lines, or CSV in which no spreadsheet program finds a formula."),
]
ExportFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="Write it there (0600), whole or not at all.", metavar="FILE"),
]
