"""sds notice: what people are told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.notices import Notice

app = typer.Typer(no_args_is_help=True, help="What people are told of: what ends, is silent, lags or is not used.")

HEADINGS = ("SINCE", "KIND", "WHAT", "DUE", "TO", "TOLD")
EMPTY = "There are no such notices."


@app.command(name="list")
@with_admin
def list_notices(
    admin: Admin,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only of this kind, e.g. certificate.", metavar="K")
    ] = None,
    recipient: Annotated[
        str | None, typer.Option("--recipient", help="Only to this address, or to webhook.", metavar="ADDRESS")
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only of what has this owner.", metavar="NAME")] = None,
    over: Annotated[bool, typer.Option("--over", help="Those that are over, and not those that stand.")] = False,
    urgent: Annotated[bool, typer.Option("--urgent", help="Only urgent ones.")] = False,
    failing: Annotated[bool, typer.Option("--failing", help="Only those that could not be sent so far.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List notices, newest first."""
    from sds.cli.output import show_list  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = list(
            client.notices.list(
                kind=kind,
                recipient=recipient,
                owner=owner,
                over=over,
                urgent=urgent or None,
                failing=failing or None,
                limit=limit,
            )
        )
    show_list(output, "notices", found, HEADINGS, _row, EMPTY)


@app.command(name="test")
@with_admin
def send_test(
    admin: Admin,
    recipient: Annotated[str, typer.Argument(metavar="RECIPIENT", help="An e-mail address, or webhook.")],
    output: Output = Format.TABLE,
) -> None:
    """Send a message that tells of nothing. Exit code 1 if it could not be handed over."""
    from sds.cli.output import print_json, say  # noqa: PLC0415

    with admin.client() as client:
        tested = client.notices.test(recipient)
    if output is Format.JSON:
        print_json(tested.document)
    elif tested.sent:
        say(f"A test message to {tested.recipient} was taken over.")
    if not tested.sent:
        raise CliError(ExitCode.FAILED, f"the message to {tested.recipient} was not sent: {tested.problem}")


def _row(notice: Notice) -> tuple[str, ...]:
    from sds.cli.text import moment, short  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    told = "-" if notice.sent_at is None else moment(notice.sent_at, now)
    due = "-" if notice.due_at is None else moment(notice.due_at, now)
    mark = "! " if notice.urgent and notice.ended_at is None else ""
    return (
        moment(notice.first_seen_at, now),
        notice.kind,
        mark + short(notice.text),
        due,
        notice.recipient or "-",
        short(notice.problem) if notice.problem else told,
    )
