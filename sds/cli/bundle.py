"""sds bundle: the trust bundle that agents and peers start from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sds.cli.options import SERVER_SOCKET, AdminSocket, Verbose

app = typer.Typer(no_args_is_help=True, help="The trust bundle.")


class BundleFormat(StrEnum):
    PEM = "pem"
    SPIFFE = "spiffe"


@app.command()
def show(
    admin_socket: AdminSocket = SERVER_SOCKET,
    bundle_format: Annotated[
        BundleFormat,
        typer.Option("--format", help="Certificates as PEM, or the SPIFFE bundle (a JWK set)."),
    ] = BundleFormat.PEM,
    verbose: Verbose = False,
) -> None:
    """Print the trust bundle. Agents need it once, from a way that can be trusted."""
    from sds.cli.client import AdminClient  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import write  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        content = client.content("/v1/bundle", {"format": bundle_format.value})
    write(content.decode())
