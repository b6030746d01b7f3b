"""Sinks of the audit log as JSON."""

from __future__ import annotations

from sds.admin.services.sinks import SinkInfo
from sds.admin.wire.common import Output, TimeOut


class SinkOut(Output):
    """`delivered_leaf`: the last that it was given. The lag is of what it lacks, `lag_seconds` the age of its first."""

    name: str
    kind: str
    delivered_leaf: int | None
    delivered_at: TimeOut | None
    lag_events: int
    lag_seconds: int
    problem: str
    problem_since: TimeOut | None
    holder: str


class SinkList(Output):
    sinks: list[SinkOut]
    next_cursor: None = None


def sink_out(sink: SinkInfo) -> SinkOut:
    return SinkOut(
        name=sink.name,
        kind=sink.kind,
        delivered_leaf=sink.delivered_leaf,
        delivered_at=sink.delivered_at,
        lag_events=sink.lag_events,
        lag_seconds=sink.lag_seconds,
        problem=sink.problem,
        problem_since=sink.problem_since,
        holder=sink.holder,
    )
