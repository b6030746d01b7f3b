"""The commands of sds grant."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli import parameters
from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import DryRun, ExportAs, ExportFile, ExportFormat, Format, Output, Yes

app = typer.Typer(no_args_is_help=True, help="Who may have which secret. Without a grant nobody has one.")

SecretName = Annotated[str, typer.Argument(metavar="SECRET", help="The secret's name.", show_default=False)]
OfSecret = Annotated[str | None, typer.Option("--secret", help="Only of this secret.", metavar="NAME")]
Reaching = Annotated[
    str | None,
    typer.Option("--spiffe-id", help="Only those that reach this identity, labels included.", metavar="ID"),
]
GrantId = Annotated[str, typer.Argument(metavar="ID", help="The grant's ID.", show_default=False)]


@app.command()
@with_admin
def create(
    secret: SecretName,
    admin: Admin,
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
) -> None:
    """Grant a secret to an identity, to all below one, or to entries by label. Repeating it changes nothing."""
    from sds.cli.grant.display import print_created  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import tell  # noqa: PLC0415

    labels = parameters.as_labels(label or ())
    if [to is not None, below is not None, bool(labels)].count(True) != 1:
        raise typer.BadParameter("give exactly one of --to, --below and --label (which may be repeated)")
    with admin.client() as client:
        grant = client.grants.create(secret, spiffe_id=to, spiffe_id_prefix=below, labels=labels or None)
    tell(output, grant, print_created)


@app.command(name="list")
@with_admin
def list_grants(
    admin: Admin,
    secret: OfSecret = None,
    spiffe_id: Reaching = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List grants, oldest first."""
    from sds.cli.grant.display import EMPTY, HEADINGS, row  # noqa: PLC0415
    from sds.cli.output import show_list  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.grants.list(secret=secret, spiffe_id=spiffe_id, limit=limit))
    show_list(output, "grants", found, HEADINGS, row, EMPTY)


@app.command()
@with_admin
def export(
    admin: Admin,
    secret: OfSecret = None,
    spiffe_id: Reaching = None,
    export_format: ExportAs = ExportFormat.JSONL,
    file: ExportFile = None,
) -> None:
    """Write all grants, as they come: JSON lines or CSV."""
    from sds.cli.exporting import export_lines  # noqa: PLC0415

    with admin.client() as client:
        export_lines(client.grants.export(export_format.value, secret=secret, spiffe_id=spiffe_id), file)


@app.command()
@with_admin
def delete(
    grant_id: GrantId,
    admin: Admin,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Take a grant back: whoever has the secret by no other one loses it at once."""
    from sds.cli.grant.display import print_deleted  # noqa: PLC0415
    from sds.cli.output import confirm, tell  # noqa: PLC0415

    if not dry_run:
        confirm(f"Take back grant {grant_id}? Who has the secret by it alone loses it at once.", yes=yes)
    with admin.client() as client:
        grant = client.grants.delete(grant_id, dry_run=dry_run)
    tell(output, grant, print_deleted)


@app.command()
@with_admin
def check(
    admin: Admin,
    secret: Annotated[str | None, typer.Option("--secret", help="Who may have it.", metavar="NAME")] = None,
    spiffe_id: Annotated[
        str | None, typer.Option("--spiffe-id", help="What this identity may have.", metavar="ID")
    ] = None,
    entry: Annotated[str | None, typer.Option("--entry", help="What this entry may have.", metavar="ID")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Say who may have what, and by which grant. With --secret and an identity: whether; if not, exit code 1."""
    from sds.cli.grant.display import print_checked  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415

    if spiffe_id is not None and entry is not None:
        raise typer.BadParameter("give --spiffe-id or --entry, not both")
    asked = [text for text in (secret, spiffe_id, entry) if text is not None]
    if not asked:
        raise typer.BadParameter("give --secret, --spiffe-id or --entry")
    with admin.client() as client:
        checked = client.grants.check(secret=secret, spiffe_id=spiffe_id, entry_id=entry)
    if output is Format.JSON:
        print_json(checked.document)
    elif checked.allowed or len(asked) == 1:
        print_checked(checked)
    if len(asked) > 1 and not checked.total:
        raise CliError(ExitCode.FAILED, f"{spiffe_id or f'entry {entry}'} is not granted {secret}")
