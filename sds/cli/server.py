"""sds server: the process that issues identities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.options import Config

if TYPE_CHECKING:
    from sds.config import ServerConfig

app = typer.Typer(no_args_is_help=True, help="The server, which issues identities.")

_ENV = "Also a config key and an environment variable (SDS_SERVER_...)."


@app.command()
def run(
    config: Config = None,
    trust_domain: Annotated[
        str | None, typer.Option("--trust-domain", help="Whom it issues for, e.g. example.org.", metavar="NAME")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder for its key file and database; made 0700.", metavar="DIR")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="Where agents with an SVID connect (mTLS).", metavar="HOST:PORT")
    ] = None,
    attest_listen: Annotated[
        str | None,
        typer.Option("--attest-listen", help="Where new agents attest. Default: the next port.", metavar="HOST:PORT"),
    ] = None,
    admin_socket: Annotated[
        Path | None,
        typer.Option("--admin-socket", help="Unix socket (0600) of the admin API.", metavar="PATH"),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            help="sqlite:///PATH or postgresql://USER@HOST/NAME; a password belongs into a file (docs/config.md).",
            metavar="URL",
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL")
    ] = None,
) -> None:
    """Run the server until SIGTERM. Each flag is also a config key and an environment variable (SDS_SERVER_...)."""
    from sds.lifecycle import collect_no_garbage_yet  # noqa: PLC0415  # keeps `sds --help` quick

    collect_no_garbage_yet()

    from sds.cli.running import load  # noqa: PLC0415
    from sds.config import SERVER_PREFIX, load_server_config  # noqa: PLC0415

    flags = {
        "trust_domain": trust_domain,
        "data_dir": data_dir,
        "listen": listen,
        "attest_listen": attest_listen,
        "admin_socket": admin_socket,
        "database.url": database_url,
        "log.level": log_level,
    }

    def read() -> ServerConfig:
        return load(load_server_config, SERVER_PREFIX, config, flags)

    loaded = read()

    from sds.server import process  # noqa: PLC0415

    raise typer.Exit(process.run(loaded, read))
