"""sds token: one-time join tokens for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose

app = typer.Typer(no_args_is_help=True, help="One-time join tokens for agents.")


@app.command()
def create(
    admin_socket: AdminSocket = SERVER_SOCKET,
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
    verbose: Verbose = False,
) -> None:
    """Make a join token. It is shown once, works once, and lets an agent prove itself for the first time."""
    from sds.cli import files, models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415
    from sds.durations import parse_duration  # noqa: PLC0415

    if token_file is not None:
        files.check_writable(token_file)
    body = {
        **({} if ttl is None else {"ttl_seconds": parse_duration(ttl).total_seconds()}),
        **({} if spiffe_id is None else {"spiffe_id": spiffe_id}),
        **({"downstream": True} if downstream else {}),
    }
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.post("/v1/tokens", body)
    token = models.read(models.Token, answer)
    if token_file is not None:
        files.write_secret(token_file, token.token + "\n")
    shown = {"token": token.token} if token_file is None else {"token_file": str(token_file)}
    if output is Format.JSON:
        print_json({**shown, "spiffe_id": token.spiffe_id, "expires_at": answer["expires_at"]})
        return
    for name, value in shown.items():
        say(f"{name.replace('_', ' ').capitalize():<11} {value}")
    say(f"{'SPIFFE ID':<11} {token.spiffe_id}")
    say(f"{'Expires':<11} {exact(token.expires_at)}")
