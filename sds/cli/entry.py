"""sds entry: registration entries, which say who gets which identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli import entry_apply, parameters
from sds.cli import entry_options as options
from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose, Yes

if TYPE_CHECKING:
    from sds.cli.models import Entry

app = typer.Typer(no_args_is_help=True, help="Registration entries: who gets which identity.")
app.command(name="apply")(entry_apply.apply)

EntryId = Annotated[str, typer.Argument(metavar="ID", help="The entry's ID.", show_default=False)]
Revision = Annotated[
    int | None, typer.Option("--revision", help="Only if this is its revision now.", min=1, metavar="N")
]


@app.command()
def create(
    spiffe_id: Annotated[str, typer.Option("--spiffe-id", help="The identity it gives.", metavar="ID")],
    parent_id: Annotated[str, typer.Option("--parent-id", help="The agent's SPIFFE ID.", metavar="ID")],
    selector: Annotated[
        list[str],
        typer.Option("--selector", help="A fact the process must have, e.g. unix:uid:1000. Repeat: all of them."),
    ],
    admin_socket: AdminSocket = SERVER_SOCKET,
    dns: options.Dns = None,
    san: options.San = None,
    subject: options.Subject = None,
    profile: options.Profile = None,
    x509_ttl: options.Ttl = None,
    jwt_ttl: options.JwtTtl = None,
    federates_with: options.FederatesWith = None,
    owner: options.Owner = None,
    label: options.Labels = None,
    hint: options.Hint = None,
    expires_at: options.Expires = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Create an entry. Repeating it changes nothing and succeeds."""
    from sds.cli.client import AdminClient  # noqa: PLC0415  # keeps `sds --help` quick

    body = options.fields(
        spiffe_id=spiffe_id,
        parent_id=parent_id,
        selectors=selector,
        dns_names=dns,
        extra_sans=san,
        subject=subject,
        profile=profile,
        x509_ttl=x509_ttl,
        jwt_ttl=jwt_ttl,
        federates_with=federates_with,
        owner=owner,
        labels=label,
        hint=hint,
        expires_at=expires_at,
    )
    with AdminClient(admin_socket, verbose=verbose) as client:
        _show(client.post("/v1/entries", body), output)


@app.command(name="list")
def list_entries(
    admin_socket: AdminSocket = SERVER_SOCKET,
    spiffe_id: Annotated[str | None, typer.Option("--spiffe-id", help="Only of this identity.", metavar="ID")] = None,
    parent_id: Annotated[str | None, typer.Option("--parent-id", help="Only of this agent.", metavar="ID")] = None,
    selector: Annotated[str | None, typer.Option("--selector", help="Only with this selector among its own.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only of this owner.", metavar="TEXT")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", callback=parameters.labels, help="Only with this label. Repeat: all.", metavar="K=V"),
    ] = None,
    hint: Annotated[str | None, typer.Option("--hint", help="Only with this hint.", metavar="TEXT")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Only with this certificate profile.", metavar="NAME")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """List entries."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json, print_table  # noqa: PLC0415
    from sds.cli.text import span  # noqa: PLC0415

    query = {
        "spiffe_id": spiffe_id,
        "parent_id": parent_id,
        "selector": selector,
        "owner": owner,
        "label": label,
        "hint": hint,
        "profile": "workload" if profile == "default" else profile,
    }
    with AdminClient(admin_socket, verbose=verbose) as client:
        found = list(client.pages("/v1/entries", "entries", query, limit=limit))
    entries = [models.read(models.Entry, each) for each in found]
    if output is Format.JSON:
        print_json({"entries": found})
        return
    rows = [
        (
            *(e.id, str(e.revision), e.spiffe_id, e.parent_id, " ".join(e.selectors)),
            *(e.profile or "-", span(e.x509_ttl), e.owner or "-"),
        )
        for e in entries
    ]
    headings = ("ID", "REVISION", "SPIFFE ID", "PARENT", "SELECTORS", "PROFILE", "TTL", "OWNER")
    print_table(headings, rows, "There are no entries; `sds entry create` makes one.")


@app.command()
def show(
    entry_id: EntryId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show one entry."""
    from sds.cli.client import AdminClient, part  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        _show(client.get(f"/v1/entries/{part(entry_id)}"), output)


@app.command()
def update(
    entry_id: EntryId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    spiffe_id: Annotated[str | None, typer.Option("--spiffe-id", help="The identity it gives.", metavar="ID")] = None,
    parent_id: options.Parent = None,
    selector: options.Selectors = None,
    dns: options.Dns = None,
    san: options.San = None,
    subject: options.Subject = None,
    profile: options.Profile = None,
    x509_ttl: options.Ttl = None,
    jwt_ttl: options.JwtTtl = None,
    federates_with: options.FederatesWith = None,
    owner: options.Owner = None,
    label: options.Labels = None,
    hint: options.Hint = None,
    expires_at: options.Expires = None,
    revision: Revision = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Change what is given and leave the rest. A repeatable flag replaces the whole list; "" empties it.

    If someone else changes the entry at the same time, one of the two is refused (exit code 4).
    """
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415

    changes = options.fields(
        spiffe_id=spiffe_id,
        parent_id=parent_id,
        selectors=selector,
        dns_names=dns,
        extra_sans=san,
        subject=subject,
        profile=profile,
        x509_ttl=x509_ttl,
        jwt_ttl=jwt_ttl,
        federates_with=federates_with,
        owner=owner,
        labels=label,
        hint=hint,
        expires_at=expires_at,
    )
    if not changes:
        raise typer.BadParameter("nothing to change: give at least one of the flags that create takes")
    path = f"/v1/entries/{part(entry_id)}"
    with AdminClient(admin_socket, verbose=verbose) as client:
        current = client.get(path)
        expected = revision or models.read(models.Entry, current).revision
        body = {key: value for key, value in current.items() if key != "revision"}
        _show(client.put(path, {**body, **changes}, revision=expected), output)


@app.command()
def delete(
    entry_id: EntryId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    revision: Revision = None,
    yes: Yes = False,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Delete an entry, and say when the last certificate issued under it expires."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    confirm(f"Delete entry {entry_id}? Nothing is issued under it any more.", yes=yes)
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.delete(f"/v1/entries/{part(entry_id)}", revision=revision)
    deleted = models.read(models.Deleted, answer)
    if output is Format.JSON:
        print_json(answer)
        return
    say(f"Deleted entry {deleted.entry.id} of {deleted.entry.spiffe_id}. Nothing is issued under it any more.")
    last = deleted.last_certificate_expires_at
    if last is None:
        say("No certificate issued under it is still valid.")
    else:
        say(f"The last certificate issued under it expires {moment(last, SystemClock().now())};")
        say("an Envoy that holds it keeps it until then.")


def _show(answer: Any, output: Format) -> None:
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.output import show as show_thing  # noqa: PLC0415

    show_thing(output, answer, _facts(models.read(models.Entry, answer)))


def _facts(entry: Entry) -> list[tuple[str, str | list[str]]]:
    from sds.cli.text import moment, span  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    return [
        ("ID", entry.id),
        ("Revision", str(entry.revision)),
        ("SPIFFE ID", entry.spiffe_id),
        ("Parent", entry.parent_id),
        ("Selectors", list(entry.selectors)),
        ("Profile", entry.profile or "default"),
        ("X.509 TTL", span(entry.x509_ttl)),
        ("JWT TTL", span(entry.jwt_ttl)),
        ("DNS names", list(entry.dns_names)),
        ("Other names", list(entry.extra_sans)),
        ("Subject", entry.subject),
        ("Federates with", list(entry.federates_with)),
        ("Hint", entry.hint),
        ("Owner", entry.owner),
        ("Labels", [f"{key}={value}" for key, value in entry.labels.items()]),
        ("Expires", moment(entry.expires_at, now, "never")),
        ("Created", moment(entry.created_at, now)),
        ("Updated", moment(entry.updated_at, now)),
    ]
