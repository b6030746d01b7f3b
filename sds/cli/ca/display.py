"""What `sds ca show` prints."""

from __future__ import annotations

from sds.cli.ca import words
from sds.cli.options import Format
from sds.cli.output import note, print_json, print_table
from sds.cli.output import show as show_thing
from sds.cli.revocation.display import print_dry_run
from sds.cli.text import moment
from sds.client.authorities import Authority, AuthorityGone, Overview
from sds.clock import SystemClock


def show_all(overview: Overview, output: Format) -> None:
    """A table of all; who is waited for, and what is due, beside it on standard error."""
    if output is Format.JSON:
        print_json(overview.document)
        return
    now = SystemClock().now()
    rows = [
        (
            words.name(one.id),
            one.kind,
            words.state(one),
            f"{one.key_type} {one.key_manager}",
            one.upstream,
            moment(one.activated_at, now, "not yet"),
            moment(one.not_after, now),
            words.next_step(one, now),
        )
        for one in overview.authorities
    ]
    headings = ("ID", "KIND", "STATE", "KEY", "UPSTREAM", "SIGNS SINCE", "EXPIRES", "NEXT")
    print_table(headings, rows, "There are no authorities.")
    for one in overview.authorities:
        if one.gate is not None:
            for line in words.stragglers(one.gate, now):
                note(f"{words.name(one.id)} waits for {line}")
    for due in overview.due:
        what = f"{due.step} {due.kind} {words.name(due.authority_id)}".rstrip()
        note(f"Due now: {what}: {due.reason}")


def show_one(one: Authority, output: Format) -> None:
    now = SystemClock().now()
    gate = [] if one.gate is None else [("Waits for", words.stragglers(one.gate, now) or ["nobody"])]
    show_thing(
        output,
        one,
        [
            ("ID", one.id),
            ("Kind", one.kind),
            ("State", words.state(one)),
            ("Key", f"{one.key_type}, with the key manager {one.key_manager}"),
            ("Upstream", one.upstream),
            ("Cross-signed", "yes" if one.cross_signed else "no"),
            ("In bundles", f"from sequence {one.published_sequence} on"),
            ("Made", moment(one.created_at, now)),
            ("Signs since", moment(one.activated_at, now, "not yet")),
            ("Retired", moment(one.retired_at, now, "no")),
            ("Expires", moment(one.not_after, now)),
            ("Next", words.next_step(one, now)),
            *gate,
        ],
    )


def only_said(verb: str, one: AuthorityGone, output: Format) -> bool:
    """Whether it was a dry run, which is told here to people."""
    if one.blast_radius is None or output is Format.JSON:
        return False
    print_dry_run(f"{verb} authority {one.id}", one.blast_radius, SystemClock().now())
    return True
