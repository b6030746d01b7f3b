"""What streams hold, as a table: one row a resource."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sds.cli.output import print_table
from sds.cli.text import moment, short
from sds.client.streams import Resource, Stream
from sds.clock import SystemClock

_VERSION = 12  # characters of a digest that tell versions apart


def state(resource: Resource) -> str:
    """``acked``; ``refused`` (NACKed) with why; ``sent`` and not answered yet; ``waiting`` for something to send."""
    if not resource.sent_version:
        return "waiting"
    if resource.nacked_version == resource.sent_version:
        return f"refused: {short(resource.nack_detail)}" if resource.nack_detail else "refused"
    return "acked" if resource.acked_version == resource.sent_version else "sent"


def print_streams(streams: Sequence[Stream]) -> None:
    rows = [row for stream in streams for row in _rows(stream)]
    fleet = any(stream.agent_id for stream in streams)
    headings = ("AGENT", "PID", "UID", "PROCESS", "PROTOCOL", "RESOURCE", "STATE", "VERSION", "SERIAL", "SINCE")
    start = 0 if fleet else 1
    print_table(headings[start:], [row[start:] for row in rows], "There are no streams.")


def _rows(stream: Stream) -> Iterator[tuple[str, ...]]:
    now = SystemClock().now()
    process = stream.process
    head = (stream.agent_id or "-", str(process.pid), str(process.uid), process.path or "-", stream.protocol)
    if not stream.resources:
        yield (*head, "-", "silent", "-", "-", moment(stream.opened_at, now))
    for each in stream.resources:
        acked = each.acked_version == each.sent_version
        yield (
            *head,
            each.name,
            state(each),
            each.sent_version[:_VERSION] or "-",
            each.sent_serial or "-",
            moment(each.acked_at if acked else each.sent_at, now),
        )
