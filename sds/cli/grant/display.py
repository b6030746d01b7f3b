"""Grants for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sds.cli.grant.models import Checked, CreatedGrant, Grant
from sds.cli.output import note, print_table, say
from sds.cli.text import count, moment


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


def print_grants(grants: Sequence[Grant], now: datetime) -> None:
    rows = [
        (each.id, each.secret, subject_text(each), moment(each.created_at, now), each.created_by or "-")
        for each in grants
    ]
    headings = ("ID", "SECRET", "TO", "GRANTED", "BY")
    print_table(headings, rows, "There are no such grants; nobody has a secret without one (`sds grant create`).")


def print_checked(checked: Checked) -> None:
    rows = [
        (each.secret, each.spiffe_id, each.entry_id or "- (no entry)", f"{subject_text(each.grant)} ({each.grant.id})")
        for each in checked.allowed
    ]
    print_table(("SECRET", "SPIFFE ID", "ENTRY", "BY THE GRANT TO"), rows, "Nothing is granted.")
    if checked.total > len(rows):
        say(f"and {checked.total - len(rows)} more")
