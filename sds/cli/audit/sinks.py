"""sds audit sinks: to whom the audit log is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.audit import Sink

HEADINGS = ("NAME", "KIND", "LAST LEAF", "BEHIND", "TOLD", "PROBLEM")
EMPTY = "The audit log is told to nobody: there are no sinks in the server's configuration."


@with_admin
def sinks(admin: Admin, output: Output = Format.TABLE) -> None:
    """Show the sinks of the audit log, and how far each is behind."""
    from sds.cli.output import show_list  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = client.audit.sinks().sinks
    show_list(output, "sinks", list(found), HEADINGS, _row, EMPTY)


def _row(sink: Sink) -> tuple[str, ...]:
    from sds.cli.text import count, moment, short  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    behind = f"{count(sink.lag_events, 'event')}, {sink.lag_seconds} s" if sink.lag_events else "-"
    return (
        sink.name,
        sink.kind,
        "-" if sink.delivered_leaf is None else str(sink.delivered_leaf),
        behind,
        "-" if sink.delivered_at is None else moment(sink.delivered_at, now),
        short(sink.problem) or "-",
    )
