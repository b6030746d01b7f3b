"""Grants for people."""

from __future__ import annotations

from sds.cli.output import note, print_table, say
from sds.cli.text import count, moment
from sds.client.grants import Checked, CreatedGrant, DeletedGrant, Grant
from sds.clock import SystemClock

HEADINGS = ("ID", "SECRET", "TO", "GRANTED", "BY")
EMPTY = "There are no such grants; nobody has a secret without one (`sds grant create`)."


def subject_text(grant: Grant) -> str:
    """To whom, as the options of sds grant create say it."""
    if grant.spiffe_id is not None:
        return grant.spiffe_id
    if grant.spiffe_id_prefix is not None:
        return f"{grant.spiffe_id_prefix} and below"
    return "entries with " + ", ".join(f"{key}={text}" for key, text in grant.labels.items())


def print_created(grant: CreatedGrant) -> None:
    say(f"Grant {grant.id}: {grant.secret} to {subject_text(grant)}.")
    if grant.entries:
        say(f"{count(grant.entries, 'entry', 'entries')} may have it now.")
    else:
        note("No entry is reached by it yet.")


def row(grant: Grant) -> tuple[str, ...]:
    now = SystemClock().now()
    return grant.id, grant.secret, subject_text(grant), moment(grant.created_at, now), grant.created_by or "-"


def print_deleted(grant: DeletedGrant) -> None:
    what = f"{grant.secret} to {subject_text(grant)}"
    if not grant.dry_run:
        say(f"Took back grant {grant.id}: {what}.")
        return
    total = grant.entries_total or 0
    say(f"Would take back grant {grant.id}: {what}. {count(total, 'entry', 'entries')} would lose it.")
    rows = [(each.spiffe_id, each.id, each.parent_id) for each in grant.entries]
    if rows:
        print_table(("SPIFFE ID", "ENTRY", "PARENT"), rows, "")
    if total > len(rows):
        say(f"and {total - len(rows)} more")
    say("This was a dry run: nothing was changed.")


def print_checked(checked: Checked) -> None:
    rows = [
        (each.secret, each.spiffe_id, each.entry_id or "- (no entry)", f"{subject_text(each.grant)} ({each.grant.id})")
        for each in checked.allowed
    ]
    print_table(("SECRET", "SPIFFE ID", "ENTRY", "BY THE GRANT TO"), rows, "Nothing is granted.")
    if checked.total > len(rows):
        say(f"and {checked.total - len(rows)} more")
