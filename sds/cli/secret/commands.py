"""The commands of sds secret that define and change; `looking` and `value` have the others."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output, Yes
from sds.cli.secret import looking, options, value

app = typer.Typer(no_args_is_help=True, help="Named secrets: what they are, where values come from, how they stand.")
app.command(name="put")(value.put)
app.command(name="list")(looking.list_secrets)
app.command(name="show")(looking.show)
app.command(name="versions")(looking.versions)


@app.command()
@with_admin
@options.with_definition
def create(
    admin: Admin,
    name: options.Name,
    definition: options.Definition,
    surplus: options.Surplus = None,
    output: Output = Format.TABLE,
) -> None:
    """Define a secret. Nobody has it before `sds grant create`. Repeating it changes nothing and succeeds."""
    from sds.cli.output import note  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.secret.display import show_one  # noqa: PLC0415

    options.refuse_surplus(surplus, f"Write it with `sds secret put {name}`.")
    with admin.client() as client:
        secret = client.secrets.create({"name": name, **definition.new()})
        if not secret.embedded:
            secret = client.secrets.refresh(name)
    show_one(secret, output)
    if secret.state.problem:
        note(f"The first look at its source failed: {secret.state.problem}. See `sds secret refresh`.")


@app.command()
@with_admin
@options.with_definition
def update(
    admin: Admin,
    name: options.Name,
    definition: options.Definition,
    surplus: options.Surplus = None,
    rename: Annotated[str | None, typer.Option("--rename", help="Its name from now on.", metavar="NAME")] = None,
    revision: options.Revision = None,
    output: Output = Format.TABLE,
) -> None:
    """Change what is given and leave the rest. A repeatable flag replaces the whole list; "" empties it.

    If someone else changes the secret at the same time, one of the two is refused (exit code 4).
    """
    from sds.cli.secret.display import show_one  # noqa: PLC0415

    options.refuse_surplus(surplus, f"Write it with `sds secret put {name}`.")
    changes = {**definition.changes(), **({} if rename is None else {"name": rename})}
    if not changes and options.source(definition.given) is None:
        raise typer.BadParameter("nothing to change: give at least one of the flags that create takes")
    with admin.client() as client:
        standing = client.secrets.get(name)
        current = standing.document
        source = options.source(definition.given, standing.source)
        if source is not None:
            changes["source"] = source
        if "rotation" in changes:
            changes["rotation"] = {**current["rotation"], **changes["rotation"]}
        body = {key: each for key, each in current.items() if key != "revision"}
        expected = revision or standing.revision
        show_one(client.secrets.update(name, {**body, **changes}, revision=expected), output)


@app.command()
@with_admin
def refresh(
    name: options.Name,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Ask the source now. If that fails the last good value stays in use, and the exit code is 1."""
    from sds.cli.secret.display import show_one  # noqa: PLC0415

    with admin.client() as client:
        secret = client.secrets.refresh(name)
    show_one(secret, output)
    if secret.state.problem:
        stays = f"Version {secret.state.version} stays in use." if secret.state.version else "Nobody has it yet."
        raise CliError(ExitCode.FAILED, f"no good value was had: {secret.state.problem}", advice=stays)


@app.command()
@with_admin
def rollback(
    name: options.Name,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="One that `sds secret versions` lists, or latest.", show_default=False),
    ],
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Deliver an older version from now on, whatever is written later. `latest` delivers the newest again."""
    from sds.cli.secret.display import show_one  # noqa: PLC0415

    if version != "latest" and not (version.isascii() and version.isdigit() and 0 < int(version[:20]) < 2**63):
        raise typer.BadParameter("must be a version's number, or latest")
    wanted = None if version == "latest" else int(version)
    with admin.client() as client:
        show_one(client.secrets.rollback(name, wanted), output)


@app.command()
@with_admin
def delete(
    name: options.Name,
    admin: Admin,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say who would lose it.")] = False,
    revision: options.Revision = None,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Take a secret from everybody, with its grants. Values that are kept here are destroyed; Vault's stay there."""
    from sds.cli.output import confirm, tell  # noqa: PLC0415
    from sds.cli.secret.display import print_deleted  # noqa: PLC0415

    if not dry_run:
        confirm(f"Delete secret {name}? Who has it loses it at once.", yes=yes)
    with admin.client() as client:
        deleted = client.secrets.delete(name, revision=revision, dry_run=dry_run)
    tell(output, deleted, print_deleted)
