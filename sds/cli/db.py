"""sds db: the database's schema, offline: works on the database itself, with or without a running server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Config, Format, Output

if TYPE_CHECKING:
    from ca.masked import Masked

app = typer.Typer(no_args_is_help=True, help="The database's schema.")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url", help="sqlite:///PATH or postgresql://USER@HOST/NAME. Default: as configured.", metavar="URL"
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The server's data folder, where its SQLite file is.", metavar="DIR"),
]


@app.command()
def upgrade(
    config: Config = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """Bring the schema to this program's version, all or nothing. The server does so at start unless told not to."""
    from sds.cli.output import print_json, say  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.lifecycle import private_umask  # noqa: PLC0415
    from sds.store.errors import StoreError  # noqa: PLC0415
    from sds.store.schema import migrate  # noqa: PLC0415

    url = _url(config, data_dir, database_url)
    private_umask()
    try:
        before = migrate(url.reveal())
    except StoreError as error:
        raise CliError(ExitCode.FAILED, str(error)) from None
    if output is Format.JSON:
        print_json({"from": before.found, "to": before.newest, "changed": not before.current})
    elif before.current:
        say(f"The schema is at {before.newest} already; nothing to do.")
    else:
        say(f"Upgraded the schema from {before.found or 'nothing'} to {before.newest}.")


@app.command()
def status(
    config: Config = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """Show which version the schema has; exit code 1 unless it is this program's."""
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.store.errors import StoreError  # noqa: PLC0415
    from sds.store.schema import schema_status  # noqa: PLC0415

    try:
        found = schema_status(_url(config, data_dir, database_url).reveal())
    except StoreError as error:
        raise CliError(ExitCode.FAILED, str(error)) from None
    if output is Format.JSON:
        print_json({"found": found.found, "newest": found.newest, "known": found.known, "current": found.current})
    elif found.current:
        say(f"The schema is at {found.newest}, which is this program's.")
    elif found.known:
        say(f"The schema is at {found.found or 'nothing'}, this program's is {found.newest}: run `sds db upgrade`.")
    else:
        say(f"The schema is at {found.found}, which this program does not know: a newer sds has upgraded it.")
    if not found.current:
        raise typer.Exit(ExitCode.FAILED)


def _url(file: Path | None, data_dir: Path | None, url: str | None) -> Masked[str]:
    """The database's URL, password included. Nothing but the database needs to be configured for these commands."""
    from sds.cli.running import invalid, load  # noqa: PLC0415
    from sds.config import SERVER_PREFIX, ConfigError, database_url, load_server_config  # noqa: PLC0415

    flags = {"data_dir": data_dir, "database.url": url}
    try:
        loaded = load(load_server_config, SERVER_PREFIX, file, flags)
    except CliError as error:
        if not all(each.startswith("trust_domain: is required") for each in error.problems):
            raise
        loaded = load(load_server_config, SERVER_PREFIX, file, {**flags, "trust_domain": "not-needed-here.invalid"})
    try:
        return database_url(loaded.database)
    except ConfigError as error:
        raise invalid(error) from None
