"""sds kek: the key-encryption key that wraps the authorities' keys."""

from __future__ import annotations

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.options import DryRun, Format, Output

app = typer.Typer(no_args_is_help=True, help="The key that wraps the authorities' private keys.")


@app.command()
@with_admin
def rotate(
    admin: Admin,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a new key-encryption key and wrap every private key anew, in one transaction."""
    from sds.cli.output import print_json, say  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.text import count  # noqa: PLC0415

    with admin.client() as client:
        rotation = client.kek.rotate(dry_run=dry_run)
    if output is Format.JSON:
        print_json(rotation.document)
        return
    if rotation.dry_run:
        say(f"Would wrap {count(rotation.rewrapped, 'key')} under a new key instead of {rotation.old_id}.")
        say("This was a dry run: nothing was changed.")
        return
    say(f"Wrapped {count(rotation.rewrapped, 'key')} under {rotation.new_id} instead of {rotation.old_id}.")
    if rotation.shared:
        say("It rests in the database, encrypted by Vault; all replicas use it within seconds.")
    else:
        say("Copy the new key file off the host; backups of the database from now on need it.")
