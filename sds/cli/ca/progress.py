"""Showing a rotation: JSON lines for programs, a live display on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from sds.cli.ca import words
from sds.cli.ca.events import Activated, Away, Done, Event, Lost, Prepared, Started, Stopped, Waiting
from sds.cli.options import Format
from sds.cli.output import note, print_json_line, say
from sds.cli.text import exact, rough
from sds.clock import SystemClock


class Progress(Protocol):
    def tell(self, event: Event) -> None: ...

    def pause(self) -> None:
        """Somebody is about to be asked something: leave the terminal alone until the next event."""
        ...


class JsonLines:
    """One event a line; a gate only when it says something new."""

    def __init__(self) -> None:
        self._last: object = None

    def tell(self, event: Event) -> None:
        document = event.document()
        told = {**document, "stragglers": _without_times(document)} if isinstance(event, Waiting) else document
        if told != self._last:
            print_json_line(document)
        self._last = told

    def pause(self) -> None:
        """There is nothing on the terminal."""


def _without_times(document: dict[str, object]) -> object:
    """When an agent was last heard of is no news."""
    stragglers = document.get("stragglers")
    return [{**one, "last_seen": None} for one in stragglers] if isinstance(stragglers, list) else stragglers


class Lines:
    """A line for each thing that changes."""

    def __init__(self) -> None:
        self._last: object = None

    def tell(self, event: Event) -> None:
        if isinstance(event, Waiting):
            self._gate(event)
        elif isinstance(event, Stopped):
            tell_stop(event)
        elif event != self._last:
            say(sentence(event))
        if not isinstance(event, Waiting):
            self._last = event

    def pause(self) -> None:
        """Lines stay where they are."""

    def _gate(self, event: Waiting) -> None:
        gate = event.gate
        seen = (gate.acked, gate.total, tuple((one.agent_id, one.stream_id, one.why) for one in gate.stragglers))
        if seen == self._last:
            return
        self._last = seen
        now = SystemClock().now()
        say(f"Waiting: {words.progress(gate, now)}")
        for line in words.stragglers(gate, now):
            say(f"  {line}")


def sentence(event: Event) -> str:
    """An event as a line for people."""
    match event:
        case Started(active=active):
            return f"The active authority is {active}." if active else "There is no active authority."
        case Prepared(authority=one, resumed=resumed):
            how = "Going on with prepared authority" if resumed else "Prepared authority"
            return f"{how} {one.id}; it is in the bundle from sequence {one.published_sequence} on."
        case Waiting(gate=gate):
            return f"Waiting: {words.progress(gate, SystemClock().now())}"
        case Away(message=message):
            return f"{message}; waiting for it"
        case Lost(authority_id=lost):
            return f"Authority {lost} was taken back or has expired; beginning again."
        case Activated(authority=one, by_us=by_us, forced=forced):
            how = "" if by_us else ", which the schedule or somebody else has seen to"
            forced_text = " (forced)" if forced else ""
            return f"Authority {one.id} signs from now on{forced_text}{how}."
        case Done(replaced=replaced, kept_until=kept_until):
            if replaced is None:
                return "Done."
            return f"Done. Authority {replaced} {_stay(kept_until, SystemClock().now())}."
        case Stopped(reason=reason):
            return f"Stopped: {reason}."


def _stay(kept_until: datetime | None, now: datetime) -> str:
    """How long the former authority is still verified by."""
    if kept_until is None:
        return "stays in the bundle until nothing that it issued is valid any more"
    if kept_until <= now:
        return "leaves the bundle now: nothing that it issued is valid any more"
    return f"stays in the bundle for another {rough(kept_until - now)}, until {exact(kept_until)}"


def tell_stop(event: Stopped) -> None:
    """Where it stands, on standard error."""
    if event.authority_id is not None:
        note(f"Authority {event.authority_id} stays prepared and in every bundle; the same command goes on from here.")


@contextmanager
def progress_for(output: Format) -> Iterator[Progress]:
    """How to show it, for as long as the block lasts."""
    if output is Format.JSON:
        yield JsonLines()
    elif sys.stdout.isatty() and sys.stderr.isatty():
        from sds.cli.ca.live import Display  # noqa: PLC0415  # rich is slow to import

        display = Display()
        try:
            yield display
        finally:
            display.pause()
    else:
        yield Lines()
