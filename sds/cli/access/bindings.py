"""sds access binding: roles of people and programs."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.access.options import Below, Label, Role
from sds.cli.admin import Admin, with_admin
from sds.cli.options import DryRun, Format, Output, Yes

app = typer.Typer(no_args_is_help=True, help="Roles of local users, SPIFFE IDs, people and groups.")


@app.command()
@with_admin
def create(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help="uid:N, a SPIFFE ID, oidc:ISSUER#SUBJECT or group:NAME.",
            show_default=False,
        ),
    ],
    admin: Admin,
    role: Role,
    below: Below = None,
    label: Label = None,
    expires_at: Annotated[
        str | None,
        typer.Option(
            "--expires-at", callback=parameters.time_or_never, help="Until then; else for good.", metavar="TIME"
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Give a role to somebody. Nobody can give more than they have."""
    from datetime import datetime  # noqa: PLC0415  # keeps `sds --help` quick

    from sds.cli.access.display import right_text  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415

    until = None if expires_at in (None, "never") else datetime.fromisoformat(expires_at or "")
    labels = parameters.as_labels(label or ())
    with admin.client() as client:
        binding = client.access.create_binding(subject, role.value, below=below, labels=labels, expires_at=until)
    if output is Format.JSON:
        print_json(binding.document)
    else:
        say(f"Binding {binding.id}: {binding.subject} is {right_text(binding)}.")


@app.command(name="list")
@with_admin
def list_bindings(
    admin: Admin,
    subject: Annotated[str | None, typer.Option("--subject", help="Only of this subject.", metavar="SUBJECT")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List bindings, oldest first."""
    from sds.cli.access.display import BINDINGS, binding_row  # noqa: PLC0415
    from sds.cli.output import show_list  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.access.bindings(subject=subject, limit=limit))
    empty = "There are no such bindings; root and the server's own user need none."
    show_list(output, "bindings", found, BINDINGS, binding_row, empty)


@app.command()
@with_admin
def delete(
    binding_id: Annotated[str, typer.Argument(metavar="ID", help="The binding's ID.", show_default=False)],
    admin: Admin,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Take a role back, at once."""
    from sds.cli.access.display import print_deleted  # noqa: PLC0415
    from sds.cli.output import confirm, tell  # noqa: PLC0415

    if not dry_run:
        confirm(f"Delete the binding {binding_id}? Who has a role by it alone is refused at once.", yes=yes)
    with admin.client() as client:
        binding = client.access.delete_binding(binding_id, dry_run=dry_run)
    tell(output, binding, print_deleted)
