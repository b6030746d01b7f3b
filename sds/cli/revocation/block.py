"""sds block: what was revoked, and lifting it."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output, Yes

app = typer.Typer(no_args_is_help=True, help="What was revoked: list it, look at it, lift it. `sds revoke` makes it.")

BlockId = Annotated[str, typer.Argument(metavar="ID", help="The block's ID.", show_default=False)]


@app.command(name="list")
@with_admin
def list_blocks(
    admin: Admin,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Only of this kind: serial, spiffe_id, key, entry, agent or authority."),
    ] = None,
    standing: Annotated[bool | None, typer.Option("--standing/--lifted", help="Only those.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List the blocks, newest first."""
    from sds.cli.output import show_list  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.revocation.display import HEADINGS, block_row  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.revocations.blocks(kind=kind, standing=standing, limit=limit))
    show_list(output, "blocks", found, HEADINGS, block_row, "Nothing was ever revoked.")


@app.command()
@with_admin
def show(
    block_id: BlockId,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show one block, and the certificates that are revoked by it."""
    from sds.cli.output import print_facts, print_json, say  # noqa: PLC0415
    from sds.cli.revocation.display import block_facts, print_revoked  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    with admin.client() as client:
        block = client.revocations.block(block_id)
        revoked = list(client.revocations.list(block_id=block.id))
    if output is Format.JSON:
        print_json({**block.document, "revocations": [each.document for each in revoked]})
        return
    now = SystemClock().now()
    print_facts(block_facts(block, now))
    say("")
    print_revoked(revoked, now)


@app.command()
@with_admin
def lift(
    block_id: BlockId,
    admin: Admin,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Issue to it again. Certificates that were only held (certificate-hold) are good again; others stay revoked."""
    from sds.cli.output import confirm, tell  # noqa: PLC0415
    from sds.cli.revocation.display import print_lifted  # noqa: PLC0415

    confirm(f"Lift block {block_id}? What it names is issued to again.", yes=yes)
    with admin.client() as client:
        lifted = client.revocations.lift(block_id)
    tell(output, lifted, print_lifted)
