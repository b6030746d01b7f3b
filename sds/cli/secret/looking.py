"""The commands of sds secret that only look. None of them can print a value: the server gives none out."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose
from sds.cli.secret import options


def list_secrets(
    admin_socket: AdminSocket = SERVER_SOCKET,
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
    verbose: Verbose = False,
) -> None:
    """List secrets, and how each stands at its source."""
    from sds.cli import models  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415
    from sds.cli.secret.display import print_secrets  # noqa: PLC0415
    from sds.cli.secret.models import Secret  # noqa: PLC0415

    query = {
        "prefix": prefix,
        "kind": kind,
        "backend": from_,
        "owner": owner,
        "label": label,
        "problem": None if problem is None else str(problem).lower(),
    }
    with AdminClient(admin_socket, verbose=verbose) as client:
        found = list(client.pages("/v1/secrets", "secrets", query, limit=limit))
    secrets = [models.read(Secret, each) for each in found]
    if output is Format.JSON:
        print_json({"secrets": found})
    else:
        print_secrets(secrets)


def show(
    name: options.Name,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show how a secret is defined, how it stands, and who is granted it. Never its value."""
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.secret.display import path_of, show_one  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        show_one(client.get(path_of(name)), output)


def versions(
    name: options.Name,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """List the versions that the source still knows of, newest first."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415
    from sds.cli.secret.display import path_of, print_versions  # noqa: PLC0415
    from sds.cli.secret.models import Secret, Versions  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        secret = models.read(Secret, client.get(path_of(name)))
        answer = client.get(path_of(name) + ":versions")
    found = models.read(Versions, answer)
    if output is Format.JSON:
        print_json(answer)
    else:
        print_versions(found.versions, secret)
