"""The commands of sds grant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sds.cli import parameters
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose, Yes

app = typer.Typer(no_args_is_help=True, help="Who may have which secret. Without a grant nobody has one.")

SecretName = Annotated[str, typer.Argument(metavar="SECRET", help="The secret's name.", show_default=False)]
GrantId = Annotated[str, typer.Argument(metavar="ID", help="The grant's ID.", show_default=False)]


@app.command()
def create(
    secret: SecretName,
    admin_socket: AdminSocket = SERVER_SOCKET,
    to: Annotated[str | None, typer.Option("--to", help="One identity.", metavar="SPIFFE_ID")] = None,
    below: Annotated[
        str | None,
        typer.Option("--below", help="An identity and all below it, by whole path segments.", metavar="SPIFFE_ID"),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", callback=parameters.labels, help="Entries with this label. Repeat: with all.", metavar="K=V"
        ),
    ] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Grant a secret to an identity, to all below one, or to entries by label. Repeating it changes nothing."""
    from sds.cli import models  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.grant.display import print_created  # noqa: PLC0415
    from sds.cli.grant.models import CreatedGrant  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415

    labels = parameters.as_labels(label or ())
    if [to is not None, below is not None, bool(labels)].count(True) != 1:
        raise typer.BadParameter("give exactly one of --to, --below and --label (which may be repeated)")
    body: dict[str, Any] = {"secret": secret}
    body |= {"labels": labels} if labels else {"spiffe_id": to} if to is not None else {"spiffe_id_prefix": below}
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.post("/v1/grants", body)
    grant = models.read(CreatedGrant, answer)
    if output is Format.JSON:
        print_json(answer)
    else:
        print_created(grant)


@app.command(name="list")
def list_grants(
    admin_socket: AdminSocket = SERVER_SOCKET,
    secret: Annotated[str | None, typer.Option("--secret", help="Only of this secret.", metavar="NAME")] = None,
    spiffe_id: Annotated[
        str | None,
        typer.Option("--spiffe-id", help="Only those that reach this identity, labels included.", metavar="ID"),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """List grants, oldest first."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.grant.display import print_grants  # noqa: PLC0415
    from sds.cli.grant.models import Grant  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    query = {"secret": secret, "spiffe_id": spiffe_id}
    with AdminClient(admin_socket, verbose=verbose) as client:
        found = list(client.pages("/v1/grants", "grants", query, limit=limit))
    grants = [models.read(Grant, each) for each in found]
    if output is Format.JSON:
        print_json({"grants": found})
    else:
        print_grants(grants, SystemClock().now())


@app.command()
def delete(
    grant_id: GrantId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    yes: Yes = False,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Take a grant back: whoever has the secret by no other one loses it at once."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415
    from sds.cli.grant.display import subject_text  # noqa: PLC0415
    from sds.cli.grant.models import Grant  # noqa: PLC0415
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415

    confirm(f"Take back grant {grant_id}? Who has the secret by it alone loses it at once.", yes=yes)
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.delete(f"/v1/grants/{part(grant_id)}")
    grant = models.read(Grant, answer)
    if output is Format.JSON:
        print_json(answer)
    else:
        say(f"Took back grant {grant.id}: {grant.secret} to {subject_text(grant)}.")


@app.command()
def check(
    admin_socket: AdminSocket = SERVER_SOCKET,
    secret: Annotated[str | None, typer.Option("--secret", help="Who may have it.", metavar="NAME")] = None,
    spiffe_id: Annotated[
        str | None, typer.Option("--spiffe-id", help="What this identity may have.", metavar="ID")
    ] = None,
    entry: Annotated[str | None, typer.Option("--entry", help="What this entry may have.", metavar="ID")] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Say who may have what, and by which grant. With --secret and an identity: whether; if not, exit code 1."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.grant.display import print_checked  # noqa: PLC0415
    from sds.cli.grant.models import Checked  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415

    if spiffe_id is not None and entry is not None:
        raise typer.BadParameter("give --spiffe-id or --entry, not both")
    asked = {"secret": secret, "spiffe_id": spiffe_id, "entry_id": entry}
    body = {key: text for key, text in asked.items() if text is not None}
    if not body:
        raise typer.BadParameter("give --secret, --spiffe-id or --entry")
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.post("/v1/grants:check", body)
    checked = models.read(Checked, answer)
    if output is Format.JSON:
        print_json(answer)
    elif checked.allowed or len(body) == 1:
        print_checked(checked)
    if len(body) > 1 and not checked.total:
        raise CliError(ExitCode.FAILED, f"{spiffe_id or f'entry {entry}'} is not granted {secret}")
