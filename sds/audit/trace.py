"""Whether a piece of work has left anything in the audit log: who commits events says so, who wraps the work asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Trace:
    """`events`: committed by the work inside so far, and by what it wraps itself."""

    __slots__ = ("_around", "events")

    def __init__(self, around: Trace | None) -> None:
        self._around = around
        self.events = 0

    def add(self, events: int) -> None:
        self.events += events
        if self._around is not None:
            self._around.add(events)


_current: ContextVar[Trace | None] = ContextVar("sds_audit_trace", default=None)


@contextmanager
def traced() -> Iterator[Trace]:
    """Counts the events that are committed inside, by this task and those that it begins."""
    trace = Trace(_current.get())
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def left(events: int) -> None:
    """So many events have just been committed. Nothing happens where nobody asks."""
    trace = _current.get()
    if trace is not None and events:
        trace.add(events)
