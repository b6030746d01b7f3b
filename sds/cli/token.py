"""sds token: one-time join tokens for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

app = typer.Typer(no_args_is_help=True, help="One-time join tokens for agents.")


@app.command()
@with_admin
def create(
    admin: Admin,
    ttl: Annotated[
        str | None,
        typer.Option(callback=parameters.duration, help="How long it may be used, e.g. 10m.", metavar="DURATION"),
    ] = None,
    spiffe_id: Annotated[
        str | None,
        typer.Option("--spiffe-id", help="What the agent will be called.", metavar="ID", show_default="a random ID"),
    ] = None,
    downstream: Annotated[
        bool,
        typer.Option(
            "--downstream", help="For another sds server below this one: whoever uses it may get signing certificates."
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Write the token there (0600) instead of showing it.", metavar="FILE"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a join token. It is shown once, works once, and lets an agent prove itself for the first time."""
    from sds.cli import files  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415
    from sds.durations import parse_duration  # noqa: PLC0415

    if token_file is not None:
        files.check_writable(token_file)
    seconds = None if ttl is None else parse_duration(ttl).total_seconds()
    with admin.client() as client:
        token = client.tokens.create(ttl_seconds=seconds, spiffe_id=spiffe_id, downstream=downstream)
    shown = files.shown_secret("token", token.token, token_file)
    if output is Format.JSON:
        print_json({**shown, "spiffe_id": token.spiffe_id, "expires_at": token.document["expires_at"]})
        return
    for name, value in shown.items():
        say(f"{name.replace('_', ' ').capitalize():<11} {value}")
    say(f"{'SPIFFE ID':<11} {token.spiffe_id}")
    say(f"{'Expires':<11} {exact(token.expires_at)}")
