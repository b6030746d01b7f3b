"""The commands of sds access."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sds.cli.access import approvals, bindings, tokens
from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

app = typer.Typer(no_args_is_help=True, help="Who may use the admin API.")
app.add_typer(tokens.app, name="token")
app.add_typer(bindings.app, name="binding")
app.add_typer(approvals.app, name="approval")


@app.command()
@with_admin
def whoami(admin: Admin, output: Output = Format.TABLE) -> None:
    """Say who you are to the server, and what you may do."""
    from sds.cli.access.display import right_text  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import print_json, say  # noqa: PLC0415

    with admin.client() as client:
        me = client.access.whoami()
    if output is Format.JSON:
        print_json(me.document)
        return
    say(f"{'ID':<8} {me.id}")
    say(f"{'Name':<8} {me.name}")
    say(f"{'By':<8} {me.kind}")
    for right in me.rights:
        say(f"{'May':<8} {right_text(right)}")


@app.command()
@with_admin
def bootstrap(
    admin: Admin,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Write the token there (0600) instead of showing it.", metavar="FILE"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a short-lived admin token for the first login, on the server's socket alone. Ends earlier ones."""
    with admin.client() as client:
        tokens.show_created(client.access.bootstrap, token_file, output)
