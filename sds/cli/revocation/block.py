"""sds block: what was revoked, and lifting it."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose, Yes

app = typer.Typer(no_args_is_help=True, help="What was revoked: list it, look at it, lift it. `sds revoke` makes it.")

BlockId = Annotated[str, typer.Argument(metavar="ID", help="The block's ID.", show_default=False)]


@app.command(name="list")
def list_blocks(
    admin_socket: AdminSocket = SERVER_SOCKET,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Only of this kind: serial, spiffe_id, key, entry, agent or authority."),
    ] = None,
    standing: Annotated[bool | None, typer.Option("--standing/--lifted", help="Only those.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """List the blocks, newest first."""
    from sds.cli import models  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415
    from sds.cli.revocation.display import print_blocks  # noqa: PLC0415
    from sds.cli.revocation.models import Block  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    query = {"kind": kind, "standing": None if standing is None else str(standing).lower()}
    with AdminClient(admin_socket, verbose=verbose) as client:
        found = list(client.pages("/v1/blocks", "blocks", query, limit=limit))
    blocks = [models.read(Block, each) for each in found]
    if output is Format.JSON:
        print_json({"blocks": found})
    else:
        print_blocks(blocks, SystemClock().now())


@app.command()
def show(
    block_id: BlockId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show one block, and the certificates that are revoked by it."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415
    from sds.cli.output import print_facts, print_json, say  # noqa: PLC0415
    from sds.cli.revocation.display import block_facts, print_revoked  # noqa: PLC0415
    from sds.cli.revocation.models import Block, Revoked  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.get(f"/v1/blocks/{part(block_id)}")
        block = models.read(Block, answer)
        found = list(client.pages("/v1/revocations", "revocations", {"block_id": block.id}))
    revoked = [models.read(Revoked, each) for each in found]
    if output is Format.JSON:
        print_json({**answer, "revocations": found})
        return
    now = SystemClock().now()
    print_facts(block_facts(block, now))
    say("")
    print_revoked(revoked, now)


@app.command()
def lift(
    block_id: BlockId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    yes: Yes = False,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Issue to it again. Certificates that were only held (certificate-hold) are good again; others stay revoked."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415
    from sds.cli.output import confirm, print_json  # noqa: PLC0415
    from sds.cli.revocation.display import print_lifted  # noqa: PLC0415
    from sds.cli.revocation.models import Lifted  # noqa: PLC0415

    confirm(f"Lift block {block_id}? What it names is issued to again.", yes=yes)
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.post(f"/v1/blocks/{part(block_id)}:lift")
    lifted = models.read(Lifted, answer)
    if output is Format.JSON:
        print_json(answer)
    else:
        print_lifted(lifted)
