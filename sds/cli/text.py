"""How values read for people: times, durations, and text from elsewhere that must not reach the terminal as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sds.durations import format_duration

LONGEST_DETAIL = 80
"""Characters of an error that somebody else worded, in a table."""


def clean(text: str) -> str:
    """`text` with control and other unprintable characters escaped: they could move the cursor or hide a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def short(text: str, most: int = LONGEST_DETAIL) -> str:
    """`text`, cut where it is longer than a table can bear; JSON output has it whole."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def exact(when: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rough(duration: timedelta) -> str:
    """A duration to its two largest units, e.g. ``2d3h`` or ``59m10s``."""
    seconds = int(abs(duration).total_seconds())
    for unit in (86_400, 3_600, 60):
        if seconds >= unit:
            step = {86_400: 3_600, 3_600: 60, 60: 1}[unit]
            return format_duration(timedelta(seconds=seconds // step * step))
    return f"{seconds}s"


def moment(when: datetime | None, now: datetime, none: str = "-") -> str:
    """``in 59m10s (2026-01-01T01:00:00Z)`` or ``3d ago (...)``."""
    if when is None:
        return none
    relative = f"in {rough(when - now)}" if when > now else f"{rough(now - when)} ago"
    return f"{relative} ({exact(when)})"


def span(seconds: float | None, none: str = "default") -> str:
    """Seconds as ``1h``."""
    return none if seconds is None else format_duration(timedelta(seconds=seconds))


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 entry``, ``2 entries``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
