"""sds audit tail: the newest events, and those that come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client import Client
    from sds.client.audit import EventPage

_WAIT = 25  # seconds of one long poll
_RETRY = 1.0


@with_admin
def tail(
    admin: Admin,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events until Ctrl-C.")] = False,
    after: Annotated[
        int | None, typer.Option("--after", help="All events after this sequence number.", min=0, metavar="N")
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="Without --after: so many of the newest.", min=1, max=1000)
    ] = 20,
    action: Annotated[
        str | None, typer.Option("--action", help="Only this, e.g. entry.create, or all of a kind: entry.")
    ] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only success, refused or failure.")] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Only by this actor, e.g. uid:0 or an agent's ID.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only on this target's ID.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the newest events, oldest first. JSON output is one event a line."""
    query = {"action": action, "outcome": outcome, "actor": actor, "target": target}
    with admin.client() as client:
        last = _newest(client, query, lines, output) if after is None else _all_after(client, query, after, output)
    if follow:
        _follow(admin, query, last, output)


def _newest(client: Client, query: dict[str, Any], lines: int, output: Format) -> int:
    return print_events(client.audit.tail(**query, limit=lines), output)


def _all_after(client: Client, query: dict[str, Any], after: int, output: Format) -> int:
    while True:
        last = print_events(client.audit.tail(**query, after=after, limit=1000), output)
        if last <= after:
            return after
        after = last


def _follow(admin: Admin, query: dict[str, Any], after: int, output: Format) -> None:
    """Long polls, each on its own connection; a server that restarts is waited for."""
    from sds.cli.output import note  # noqa: PLC0415

    away = False
    while True:
        try:
            with admin.client() as client:
                page = client.audit.tail(**query, after=after, limit=1000, wait=_WAIT)
                after = max(after, print_events(page, output))
        except CliError as error:
            if error.code is not ExitCode.UNREACHABLE:
                raise
            if not away:
                note(f"{error.message}; waiting for it")
            away = True
            time.sleep(_RETRY)
        else:
            away = False


def print_events(page: EventPage, output: Format) -> int:
    """Print a page of events; the sequence number to go on from."""
    from sds.cli.output import print_json_line, say  # noqa: PLC0415
    from sds.cli.text import exact, short  # noqa: PLC0415

    for event in page.events:
        if output is Format.JSON:
            print_json_line(event.document)
            continue
        if event.unreadable:
            say(f"{event.sequence:>8}  unreadable: {short(event.reason)} (sds audit verify)")
            continue
        reason = f"  {short(event.reason)}" if event.reason else ""
        what = f"{event.outcome:<8} {event.action:<20} {event.target.kind}:{event.target.id}"
        who = f"{event.actor.kind}:{event.actor.id or event.actor.address}"  # who was refused may have no name yet
        say(f"{event.sequence:>8}  {exact(event.time)}  {what}  by {who}{reason}")
    return page.last_sequence
