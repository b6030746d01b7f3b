"""sds audit checkpoint, keys, rekey, prune: what is kept elsewhere, what signs, and what may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output, Yes

if TYPE_CHECKING:
    from sds.client.audit import Key


@with_admin
def checkpoint(
    admin: Admin,
    size: Annotated[int | None, typer.Option("--size", help="That of so many events.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Print the newest signed checkpoint, to be kept elsewhere and given to `verify --checkpoint` later."""
    from sds.cli.output import print_json, write  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = client.audit.checkpoint(size)
    if output is Format.JSON:
        print_json(found.document)
    else:
        write(found.note)  # as it is: every byte counts


@with_admin
def keys(admin: Admin, output: Output = Format.TABLE) -> None:
    """Show the keys that verify the log's checkpoints, oldest first; the last one signs."""
    from sds.cli.output import show_list  # noqa: PLC0415

    with admin.client() as client:
        found = list(client.audit.keys().keys)
    show_list(output, "keys", found, ("NUMBER", "SINCE", "SIGNS", "VERIFIER KEY"), _key, "The log has no key yet.")


@with_admin
def rotate_key(admin: Admin, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """Sign with a new key, which the old one vouches for before it is destroyed."""
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415

    confirm("Replace the key that signs the audit log?", yes=yes)
    with admin.client() as client:
        found = client.audit.rotate_key()
    if output is Format.JSON:
        print_json(found.document)
    else:
        say(f"Key {found.number} signs now: {found.verifier}")


@with_admin
def prune(
    admin: Admin,
    before: Annotated[
        str,
        typer.Option("--before", help="Events older than that: a time, or so long ago: 400d.", show_default=False),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it. Without, it is only said what would go.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Take the oldest events away, with a signed statement by which the rest still verifies."""
    from sds.cli.audit.filters import moment  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    when = moment("--before", before, SystemClock().now())
    if when is None:
        raise CliError(ExitCode.USAGE, "--before is needed")
    with admin.client() as client:
        found = client.audit.prune(when, dry_run=not yes)
    if output is Format.JSON:
        print_json(found.document)
        return
    what = "went" if yes else "would go with --yes"
    say(f"{found.events} events from before {exact(when)} {what}; the log then begins with leaf {found.size}.")
    if found.held_by:
        say(f"What is kept beyond that: {found.held_by}.")


def _key(key: Key) -> tuple[str, ...]:
    from sds.cli.text import exact  # noqa: PLC0415

    return (str(key.number), exact(key.created_at), "yes" if key.current else "", key.verifier)
