"""The commands of sds secret that only look. None of them can print a value: the server gives none out."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output
from sds.cli.secret import options


@with_admin
def list_secrets(
    admin: Admin,
    prefix: Annotated[str, typer.Option("--prefix", help="Only names that begin so.", metavar="TEXT")] = "",
    kind: Annotated[options.Kind | None, typer.Option("--kind", help="Only of this kind.")] = None,
    from_: Annotated[options.Backend | None, typer.Option("--from", help="Only from this source.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only of this owner.", metavar="TEXT")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", callback=parameters.labels, help="Only with this label. Repeat: all.", metavar="K=V"),
    ] = None,
    problem: Annotated[
        bool | None, typer.Option("--problem/--no-problem", help="Only those with something wrong, or without.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List secrets, and how each stands at its source."""
    from sds.cli.output import show_list  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.secret.display import EMPTY, HEADINGS, row  # noqa: PLC0415

    with admin.client() as client:
        listed = client.secrets.list(
            prefix=prefix,
            kind=kind,
            backend=from_,
            owner=owner,
            labels=parameters.as_labels(label or ()),
            problem=problem,
            limit=limit,
        )
        found = list(listed)
    show_list(output, "secrets", found, HEADINGS, row, EMPTY)


@with_admin
def show(
    name: options.Name,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show how a secret is defined, how it stands, and who is granted it. Never its value."""
    from sds.cli.secret.display import show_one  # noqa: PLC0415

    with admin.client() as client:
        show_one(client.secrets.get(name), output)


@with_admin
def versions(
    name: options.Name,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """List the versions that the source still knows of, newest first."""
    from sds.cli.output import print_json  # noqa: PLC0415
    from sds.cli.secret.display import print_versions  # noqa: PLC0415

    with admin.client() as client:
        secret = client.secrets.get(name)
        found = client.secrets.versions(name)
    if output is Format.JSON:
        print_json(found.document)
    else:
        print_versions(found.versions, secret)
