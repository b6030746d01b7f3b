"""sds bundle: the trust bundle that agents and peers start from, and those of other trust domains."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose

app = typer.Typer(no_args_is_help=True, help="The trust bundle, and those of other trust domains.")


class BundleFormat(StrEnum):
    PEM = "pem"
    SPIFFE = "spiffe"


@app.command()
def show(
    admin_socket: AdminSocket = SERVER_SOCKET,
    trust_domain: Annotated[
        str | None,
        typer.Option("--trust-domain", help="That of another trust domain, as it was last had.", metavar="NAME"),
    ] = None,
    bundle_format: Annotated[
        BundleFormat,
        typer.Option("--format", help="Certificates as PEM, or the SPIFFE bundle (a JWK set)."),
    ] = BundleFormat.PEM,
    verbose: Verbose = False,
) -> None:
    """Print the trust bundle. Agents need it once, from a way that can be trusted."""
    from sds.cli.client import AdminClient, part  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import write  # noqa: PLC0415

    path = "/v1/bundle" if trust_domain is None else f"/v1/federations/{part(trust_domain)}/bundle"
    with AdminClient(admin_socket, verbose=verbose) as client:
        content = client.content(path, {"format": bundle_format.value})
    write(content.decode())


@app.command(name="set")
def set_bundle(
    trust_domain: Annotated[str, typer.Argument(metavar="TRUST_DOMAIN", help="Whose it is.", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="FILE", help="PEM or SPIFFE; - for standard input.")],
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Replace the bundle of a federated trust domain, whatever its sequence. The next poll may replace it again.

    Needed when that trust domain has begun anew, or was restored from a backup and counts from a lower sequence.
    """
    from sds.cli import federation, files  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415

    body = {"bundle": federation.as_text(files.read_bytes(file))}
    with AdminClient(admin_socket, verbose=verbose) as client:
        federation.show_one(client.put(f"/v1/federations/{part(trust_domain)}/bundle", body), output)
