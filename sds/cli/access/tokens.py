"""sds access token: API tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli import parameters
from sds.cli.access.options import Below, Label, Role
from sds.cli.admin import Admin, with_admin
from sds.cli.options import DryRun, Format, Output, Yes

if TYPE_CHECKING:
    from sds.client.access import CreatedToken

app = typer.Typer(no_args_is_help=True, help="API tokens, for programs and for a login at the pages.")


@app.command()
@with_admin
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)],
    admin: Admin,
    role: Role,
    below: Below = None,
    label: Label = None,
    ttl: Annotated[
        str | None,
        typer.Option(callback=parameters.duration, help="How long it is good for, e.g. 30d.", metavar="DURATION"),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Write the token there (0600) instead of showing it.", metavar="FILE"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an API token. It is shown once, and cannot do more than you can."""
    from sds.durations import parse_duration  # noqa: PLC0415  # keeps `sds --help` quick

    seconds = None if ttl is None else parse_duration(ttl).total_seconds()
    labels = parameters.as_labels(label or ())
    with admin.client() as client:
        show_created(
            lambda: client.access.create_token(name, role.value, below=below, labels=labels, ttl_seconds=seconds),
            token_file,
            output,
        )


def show_created(make: Callable[[], CreatedToken], token_file: Path | None, output: Format) -> None:
    """The token once, on standard output or in a file."""
    from sds.cli import files  # noqa: PLC0415
    from sds.cli.access.display import right_text  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415

    if token_file is not None:
        files.check_writable(token_file)
    token = make()
    shown = files.shown_secret("token", token.token, token_file)
    if output is Format.JSON:
        print_json({**{name: value for name, value in token.document.items() if name != "token"}, **shown})
        return
    for name, value in shown.items():
        say(f"{name.replace('_', ' ').capitalize():<11} {value}")
    say(f"{'ID':<11} {token.id}")
    say(f"{'May':<11} {right_text(token)}")
    say(f"{'Expires':<11} {exact(token.expires_at)}")


@app.command(name="list")
@with_admin
def list_tokens(
    admin: Admin,
    every: Annotated[bool, typer.Option("--all", help="Also those that have expired or were revoked.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List API tokens, oldest first."""
    from sds.cli.access.display import TOKENS, token_row  # noqa: PLC0415
    from sds.cli.output import show_list  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.access.tokens(live=None if every else True, limit=limit))
    show_list(output, "tokens", found, TOKENS, token_row, "There are no API tokens (`sds access token create`).")


@app.command()
@with_admin
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's ID.", show_default=False)],
    admin: Admin,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Take a token back: it, and the sessions that it began, are taken no more."""
    from sds.cli.access.display import print_revoked  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import confirm, tell  # noqa: PLC0415

    if not dry_run:
        confirm(f"Revoke the API token {token_id}? Whoever uses it is refused at once.", yes=yes)
    with admin.client() as client:
        token = client.access.revoke_token(token_id, dry_run=dry_run)
    tell(output, token, print_revoked)
