"""sds secret put: a value from a file, from standard input, or typed without echo. Never from an argument."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output
from sds.cli.secret import options

if TYPE_CHECKING:
    from sds.cli.secret.reading import Given
    from sds.client.secrets import Secret, Version

From = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-]", help="- reads the value from standard input.", show_default=False),
]
File = Annotated[
    Path | None, typer.Option("--file", help="Read the value from there; - for standard input.", metavar="FILE")
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help="Of a map: NAME=@FILE, NAME=@- for standard input, or NAME to be asked for it. Repeat: all fields.",
        metavar="NAME=@FILE",
    ),
]
Chain = Annotated[Path | None, typer.Option("--chain", help="Of a certificate: it, leaf first, PEM.", metavar="FILE")]
Key = Annotated[Path | None, typer.Option("--key", help="Of a certificate: its private key, PEM.", metavar="FILE")]
Chomp = Annotated[bool, typer.Option("--chomp", help="Leave out a line's end at the end of what is read.")]
IfVersion = Annotated[
    int | None,
    typer.Option("--if-version", help="Only if this is the newest version now; 0: none.", min=0, metavar="N"),
]
Argument = Annotated[str | None, typer.Option("--value", hidden=True)]


@with_admin
def put(
    admin: Admin,
    name: options.Name,
    from_: From = None,
    file: File = None,
    field: Fields = None,
    chain: Chain = None,
    key: Key = None,
    chomp: Chomp = False,
    if_version: IfVersion = None,
    value: Argument = None,
    output: Output = Format.TABLE,
) -> None:
    """Write a new value of a secret that is kept here; whoever is granted it has it at once.

    With neither --file nor - you are asked for it, without echo. All fields are written together.
    """
    from sds.cli.secret import reading  # noqa: PLC0415  # keeps `sds --help` quick

    surplus = [each for each in (*(from_ or ()), *(() if value is None else (value,))) if each != "-"]
    options.refuse_surplus(surplus, "Give --file FILE, - for standard input, or nothing to be asked for it.")
    given = reading.given(from_, file, field, chain, key)
    with admin.client() as client:
        secret = client.secrets.get(name)
        _check(secret, given)
        fields = reading.read(secret.kind, given, chomp=chomp)
        version = client.secrets.put(name, fields, if_version=if_version)
    _report(secret, version, output)


def _check(secret: Secret, given: Given) -> None:
    """Before anything is read or asked for."""
    if not secret.embedded:
        source = secret.source
        where = f"{source.get('mount')}/{source.get('path') or source.get('role')}"
        raise CliError(
            ExitCode.FAILED,
            f"the values of {secret.name} come from Vault ({source.get('backend')} {where})",
            advice=f"Write it there, e.g. `vault kv put -mount={source.get('mount')} {source.get('path')} ...`; "
            "`sds secret refresh` takes it over at once."
            if source.get("backend") == "kv"
            else "Its engine makes them; nobody writes them.",
        )
    problem = given.misfit(secret.kind)
    if problem:
        _refuse(f"{secret.name} is of kind {secret.kind}: {problem}")


def _refuse(problem: str) -> NoReturn:
    raise CliError(ExitCode.USAGE, problem)


def _report(secret: Secret, version: Version, output: Format) -> None:
    from sds.cli.output import note, print_json, say  # noqa: PLC0415

    if output is Format.JSON:
        print_json(version.document)
    else:
        say(f"Wrote version {version.version} of {secret.name}.")
    if secret.pinned is not None:
        note(
            f"Version {secret.pinned} is pinned and stays in use; "
            f"`sds secret rollback {secret.name} latest` delivers the newest."
        )
    elif not secret.grants:
        note(f"Nobody is granted it yet; `sds grant create {secret.name}` gives it to somebody.")
