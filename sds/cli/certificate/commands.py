"""The commands of sds certificate."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.certificate import options
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import ExportAs, ExportFile, ExportFormat, Format, Output

app = typer.Typer(no_args_is_help=True, help="The inventory: what was issued, to whom, and who holds it now.")

Serial = Annotated[str, typer.Argument(metavar="SERIAL", help="Hex, with or without colons.", show_default=False)]


@app.command(name="list")
@with_admin
@options.with_chosen
def list_certificates(
    admin: Admin,
    chosen: options.Chosen,
    limit: Annotated[
        int | None, typer.Option("--limit", help="At most so many; `export` has all.", min=1, metavar="N")
    ] = 100,
    output: Output = Format.TABLE,
) -> None:
    """List certificates, the newest first."""
    from sds.cli.certificate.display import EMPTY, HEADINGS, row  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import note, show_list  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.certificates.list(chosen(SystemClock().now()), limit=limit))
    show_list(output, "certificates", found, HEADINGS, row, EMPTY)
    if len(found) == limit and output is Format.TABLE:
        note(f"These are the first {limit}; --limit gives more, and `sds certificate export` all.")


@app.command()
@with_admin
def show(serial: Serial, admin: Admin, output: Output = Format.TABLE) -> None:
    """Show one certificate: its chain, who asked for it, and who holds it now."""
    from sds.cli.certificate.display import show_one  # noqa: PLC0415

    with admin.client() as client:
        show_one(client.certificates.get(serial), output)


@app.command()
@with_admin
def find(
    file: Annotated[str, typer.Argument(metavar="FILE", help="PEM, whatever stands around it; - for standard input.")],
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Say what is known of the certificates in a file, and of others with the same keys. If of none, exit code 3."""
    from sds.cli.certificate.display import print_found  # noqa: PLC0415
    from sds.cli.files import read_bytes  # noqa: PLC0415
    from sds.cli.output import tell  # noqa: PLC0415

    pem = read_bytes(file).decode("utf-8", "replace")
    with admin.client() as client:
        found = client.certificates.find(pem)
    tell(output, found, print_found)
    if not found.certificates:
        raise CliError(ExitCode.NOT_FOUND, "none of these certificates is known here")


@app.command()
@with_admin
@options.with_chosen
def export(
    admin: Admin,
    chosen: options.Chosen,
    export_format: ExportAs = ExportFormat.JSONL,
    file: ExportFile = None,
) -> None:
    """Write all of them, as they come: JSON lines or CSV."""
    from sds.cli.exporting import export_lines  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    with admin.client() as client:
        export_lines(client.certificates.export(export_format.value, chosen(SystemClock().now())), file)
