"""sds kek: the key-encryption key that wraps the authorities' keys."""

from __future__ import annotations

import typer

from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose

app = typer.Typer(no_args_is_help=True, help="The key that wraps the authorities' private keys.")


@app.command()
def rotate(
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Make a new key-encryption key and wrap every private key anew, in one transaction."""
    from sds.cli import models  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.post("/v1/kek:rotate")
    rotation = models.read(models.Rotation, answer)
    if output is Format.JSON:
        print_json(answer)
        return
    say(f"Wrapped {count(rotation.rewrapped, 'key')} under {rotation.new_id} instead of {rotation.old_id}.")
    if rotation.shared:
        say("It rests in the database, encrypted by Vault; all replicas use it within seconds.")
    else:
        say("Copy the new key file off the host; backups of the database from now on need it.")
