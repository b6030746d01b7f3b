"""sds bundle: the trust bundle that agents and peers start from, and those of other trust domains."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

app = typer.Typer(no_args_is_help=True, help="The trust bundle, and those of other trust domains.")


class BundleFormat(StrEnum):
    PEM = "pem"
    SPIFFE = "spiffe"


@app.command()
@with_admin
def show(
    admin: Admin,
    trust_domain: Annotated[
        str | None,
        typer.Option("--trust-domain", help="That of another trust domain, as it was last had.", metavar="NAME"),
    ] = None,
    bundle_format: Annotated[
        BundleFormat,
        typer.Option("--format", help="Certificates as PEM, or the SPIFFE bundle (a JWK set)."),
    ] = BundleFormat.PEM,
) -> None:
    """Print the trust bundle. Agents need it once, from a way that can be trusted."""
    from sds.cli.output import write  # noqa: PLC0415

    pem = bundle_format is BundleFormat.PEM
    with admin.client() as client:
        if trust_domain is None:
            content = client.bundle.get("pem" if pem else "spiffe")
        else:
            content = client.federations.bundle(trust_domain, "pem" if pem else "spiffe")
    write(content.decode())


@app.command(name="set")
@with_admin
def set_bundle(
    trust_domain: Annotated[str, typer.Argument(metavar="TRUST_DOMAIN", help="Whose it is.", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="FILE", help="PEM or SPIFFE; - for standard input.")],
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Replace the bundle of a federated trust domain, whatever its sequence. The next poll may replace it again.

    Needed when that trust domain has begun anew, or was restored from a backup and counts from a lower sequence.
    """
    from sds.cli import federation, files  # noqa: PLC0415

    bundle = federation.as_text(files.read_bytes(file))
    with admin.client() as client:
        federation.show_one(client.federations.set_bundle(trust_domain, bundle), output)
