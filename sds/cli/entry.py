"""sds entry: registration entries, which say who gets which identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli import entry_apply, entry_files, parameters
from sds.cli import entry_options as options
from sds.cli.admin import Admin, with_admin
from sds.cli.options import DryRun, Format, Output, Yes

if TYPE_CHECKING:
    from sds.client.entries import DeletedEntry, Entry, UpdatedEntry

app = typer.Typer(no_args_is_help=True, help="Registration entries: who gets which identity.")
app.command(name="apply")(entry_apply.apply)
app.command(name="import")(entry_files.import_file)
app.command(name="export")(entry_files.export)

EntryId = Annotated[str, typer.Argument(metavar="ID", help="The entry's ID.", show_default=False)]
Revision = Annotated[
    int | None, typer.Option("--revision", help="Only if this is its revision now.", min=1, metavar="N")
]


@app.command()
@with_admin
@options.with_entry
def create(admin: Admin, fields: dict[str, Any], output: Output = Format.TABLE) -> None:
    """Create an entry. Repeating it changes nothing and succeeds."""
    with admin.client() as client:
        _show(client.entries.create(fields), output)


@app.command(name="list")
@with_admin
def list_entries(
    admin: Admin,
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
) -> None:
    """List entries."""
    from sds.cli.output import show_list  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        listed = client.entries.list(
            spiffe_id=spiffe_id,
            parent_id=parent_id,
            selector=selector,
            owner=owner,
            label=parameters.as_labels(label or ()),
            hint=hint,
            profile="workload" if profile == "default" else profile,
            limit=limit,
        )
        found = list(listed)
    show_list(output, "entries", found, _HEADINGS, _row, "There are no entries; `sds entry create` makes one.")


_HEADINGS = ("ID", "REVISION", "SPIFFE ID", "PARENT", "SELECTORS", "PROFILE", "TTL", "OWNER")


def _row(entry: Entry) -> tuple[str, ...]:
    from sds.cli.text import span  # noqa: PLC0415

    return (
        *(entry.id, str(entry.revision), entry.spiffe_id, entry.parent_id, " ".join(entry.selectors)),
        *(entry.profile or "-", span(entry.x509_ttl), entry.owner or "-"),
    )


@app.command()
@with_admin
def show(
    entry_id: EntryId,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show one entry."""
    with admin.client() as client:
        _show(client.entries.get(entry_id), output)


@app.command()
@with_admin
@options.with_changes
def update(
    entry_id: EntryId,
    admin: Admin,
    changes: dict[str, Any],
    revision: Revision = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Change what is given and leave the rest. A repeatable flag replaces the whole list; "" empties it.

    If someone else changes the entry at the same time, one of the two is refused (exit code 4).
    """
    if not changes:
        raise typer.BadParameter("nothing to change: give at least one of the flags that create takes")
    with admin.client() as client:
        updated = client.entries.change(entry_id, changes, revision=revision, dry_run=dry_run)
    if updated.dry_run and output is Format.TABLE:
        _tell_planned(updated)
    else:
        _show(updated, output)


@app.command()
@with_admin
def delete(
    entry_id: EntryId,
    admin: Admin,
    revision: Revision = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete an entry, and say when the last certificate issued under it expires."""
    from sds.cli.output import confirm, print_json  # noqa: PLC0415
    from sds.cli.revocation.display import print_dry_run  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    if not dry_run:
        confirm(f"Delete entry {entry_id}? Nothing is issued under it any more.", yes=yes)
    with admin.client() as client:
        deleted = client.entries.delete(entry_id, revision=revision, dry_run=dry_run)
    if output is Format.JSON:
        print_json(deleted.document)
    elif deleted.blast_radius is not None:
        what = f"delete entry {deleted.entry.id} of {deleted.entry.spiffe_id}"
        print_dry_run(what, deleted.blast_radius, SystemClock().now())
    else:
        _tell_deleted(deleted)


def _tell_deleted(deleted: DeletedEntry) -> None:
    from sds.cli.output import say  # noqa: PLC0415
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    say(f"Deleted entry {deleted.entry.id} of {deleted.entry.spiffe_id}. Nothing is issued under it any more.")
    last = deleted.last_certificate_expires_at
    if last is None:
        say("No certificate issued under it is still valid.")
    else:
        say(f"The last certificate issued under it expires {moment(last, SystemClock().now())};")
        say("an Envoy that holds it keeps it until then.")


def _tell_planned(updated: UpdatedEntry) -> None:
    from sds.cli.output import say  # noqa: PLC0415
    from sds.cli.revocation.display import print_dry_run  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    changes = updated.changes or {}
    for line in entry_apply.changes_text(changes):
        say(line)
    if updated.blast_radius is not None:
        what = f"change {count(len(changes), 'field')} of entry {updated.id} of {updated.spiffe_id}"
        print_dry_run(what, updated.blast_radius, SystemClock().now())


def _show(entry: Entry, output: Format) -> None:
    from sds.cli.output import show as show_thing  # noqa: PLC0415

    show_thing(output, entry, _facts(entry))


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
