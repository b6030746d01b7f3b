"""The commands of `sds ca`. Rotating is in sds.cli.ca.rotate."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.options import DryRun, Format, Output, Yes
from sds.cli.parameters import duration

app = typer.Typer(no_args_is_help=True, help="The authorities that sign certificates and tokens: show and rotate them.")

FORCED_WAIT = "1m"


class Kind(StrEnum):
    X509 = "x509"
    JWT = "jwt"


KindOption = Annotated[Kind, typer.Option("--kind", help="Of what signs certificates, or of what signs tokens.")]
AuthorityId = Annotated[
    str, typer.Argument(metavar="ID", help="The authority's ID, or its beginning.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Although somebody would be cut off; says first who.")]
CrossSign = Annotated[
    bool,
    typer.Option(
        "--cross-sign", help="Send a certificate by the present authority along, for verifiers that are late."
    ),
]


@app.command()
@with_admin
def show(
    admin: Admin,
    authority_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One authority, by its ID or its beginning.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only of this kind.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the authorities, what is due, and who the next one waits for."""
    from sds.cli.ca import asking, display  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        overview = client.authorities.overview(kind.value if kind else None)
        if authority_id is None:
            display.show_all(overview, output)
        else:
            one = asking.find(overview, authority_id)
            display.show_one(client.authorities.get(one.id), output)


@app.command()
@with_admin
def prepare(
    admin: Admin,
    kind: KindOption = Kind.X509,
    output: Output = Format.TABLE,
) -> None:
    """Make the next authority and put it into every bundle. It signs nothing before it is activated."""
    from sds.cli.output import print_json, say  # noqa: PLC0415

    with admin.client() as client:
        made = client.authorities.prepare(kind.value)
    if output is Format.JSON:
        print_json(made.document)
        return
    say(f"Prepared authority {made.id}; it is in the bundle from sequence {made.published_sequence} on.")
    say("`sds ca rotate` waits until everybody has it, and activates it.")


@app.command()
@with_admin
def activate(
    admin: Admin,
    authority_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Which one; without it, the prepared one of --kind.")
    ] = None,
    kind: KindOption = Kind.X509,
    force: Force = False,
    cross_sign: CrossSign = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Sign with a prepared authority from now on. Refused while somebody does not have it in their bundle."""
    from sds.cli.ca import asking  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415

    with admin.client() as client:
        overview = client.authorities.overview()
        named = authority_id is not None
        one = asking.find(overview, authority_id or "") if named else asking.prepared(overview, kind.value)
        if force:
            asking.confirm_force(one, yes=yes)
        activated = asking.activate(client, one.id, force=force, cross_sign=cross_sign)
    if output is Format.JSON:
        print_json(activated.document)
        return
    say(f"Authority {one.id} signs from now on.")


@app.command()
@with_admin
def taint(
    authority_id: AuthorityId,
    admin: Admin,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Never sign with an authority again, and have everything that it issued replaced, over a while.

    What it issued goes on working meanwhile. If it is the active one, the next one is made and signs once everybody has
    it; until then nothing is issued.
    """
    from sds.cli.ca import asking, display  # noqa: PLC0415
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415

    with admin.client() as client:
        one = asking.find(client.authorities.overview(), authority_id)
        signs = " Nothing is issued until the next one is in every bundle." if one.state == "active" else ""
        if not dry_run:
            confirm(f"Taint authority {one.id}? All that it issued is replaced.{signs}", yes=yes)
        tainted = client.authorities.taint(one.id, dry_run=dry_run)
    if display.only_said("taint", tainted, output):
        return
    if output is Format.JSON:
        print_json(tainted.document)
        return
    say(f"Authority {one.id} is tainted; agents replace what it issued.")
    if one.state == "active":
        say("`sds ca rotate` shows how the next one comes to sign.")


@app.command()
@with_admin
def revoke(
    authority_id: AuthorityId,
    admin: Admin,
    force: Annotated[
        bool, typer.Option("--force", help="Also the active one: another one signs first, whoever has it.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Take an authority out of the bundle now: nobody accepts any more what it issued.

    If there is time, taint it first.
    """
    from sds.cli.ca import asking, display  # noqa: PLC0415
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415

    with admin.client() as client:
        one = asking.find(client.authorities.overview(), authority_id)
        question = f"Revoke authority {one.id}? All that it issued is refused from then on."
        if dry_run:
            pass
        elif force and one.state == "active":
            asking.must_confirm(f"{question} Who does not have the next one in time is cut off.", yes=yes)
        else:
            confirm(question, yes=yes)
        revoked = client.authorities.revoke(one.id, force=force, dry_run=dry_run)
    if display.only_said("revoke", revoked, output):
        return
    if output is Format.JSON:
        print_json(revoked.document)
        return
    say(f"Authority {one.id} is revoked and out of the bundle.")


@app.command()
@with_admin
def rotate(
    admin: Admin,
    kind: KindOption = Kind.X509,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", help="How long the fleet is waited for, e.g. 10m; else for ever.", callback=duration),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help=f"At the end of --timeout ({FORCED_WAIT}), activate it whoever is late."),
    ] = False,
    cross_sign: CrossSign = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Replace the active authority: make the next one, wait until everybody has it, sign with it.

    It can be interrupted at any time: run again, it goes on from where things stand. JSON output is one event a line.
    """
    from sds.cli.ca.rotate import Wishes, run  # noqa: PLC0415
    from sds.durations import parse_duration  # noqa: PLC0415

    patience = timeout or (FORCED_WAIT if force else None)
    longest = None if patience is None else parse_duration(patience).total_seconds()
    run(admin, Wishes(kind.value, longest, force, cross_sign, yes), output)
