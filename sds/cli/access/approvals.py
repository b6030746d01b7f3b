"""sds access approval: what waits for somebody else."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output, Yes

app = typer.Typer(no_args_is_help=True, help="Requests that somebody else has to approve.")

ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="The approval's ID.", show_default=False)]


@app.command(name="list")
@with_admin
def list_approvals(
    admin: Admin,
    every: Annotated[bool, typer.Option("--all", help="Also what was decided already.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List what waits, newest first."""
    from sds.cli.access.display import APPROVALS, approval_row  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import show_list  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.approvals.list(state=None if every else "pending", limit=limit))
    show_list(output, "approvals", found, APPROVALS, approval_row, "Nothing waits for approval.")


@app.command()
@with_admin
def approve(
    approval_id: ApprovalId,
    admin: Admin,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Have it done now, exactly as it was asked for. Exit code 1 if that was refused."""
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415

    with admin.client() as client:
        if not yes:
            approval = client.approvals.get(approval_id)
            say(f"{approval.operation}, asked for by {approval.requested_by}:")
            say(json.dumps(approval.request, indent=2, sort_keys=True))
        confirm("Approve it? It is done at once.", yes=yes)
        done = client.approvals.approve(approval_id)
    if output is Format.JSON:
        print_json(done.document)
    elif done.approval.state == "performed":
        say(f"Approved and done: {done.approval.operation} ({done.approval.id}).")
    if done.approval.state != "performed":
        raise CliError(ExitCode.FAILED, f"it was approved, and then refused ({done.status}): see the audit log")


@app.command()
@with_admin
def reject(
    approval_id: ApprovalId,
    admin: Admin,
    reason: Annotated[str, typer.Option("--reason", help="Why, for who asked.", metavar="TEXT")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Have it not done; or take back what you asked for."""
    from sds.cli.output import print_json, say  # noqa: PLC0415

    with admin.client() as client:
        approval = client.approvals.reject(approval_id, reason)
    if output is Format.JSON:
        print_json(approval.document)
    else:
        say(f"Rejected: {approval.operation} ({approval.id}).")
