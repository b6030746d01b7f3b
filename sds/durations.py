"""Durations as people write them: ``1h``, ``30m``, ``1h30m``, ``500ms``; a bare number is seconds."""

from __future__ import annotations

import math
import re
from datetime import timedelta

MAX_DURATION = timedelta(days=36500)  # a century; longer is a typing mistake and overflows certificate dates

_UNIT_US = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|d|h|m|s)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII)


class InvalidDuration(ValueError):
    """The value is not a duration. The message never repeats the value."""


def parse_duration(value: object) -> timedelta:
    """Read ``1h30m``, ``2.5s``, ``500ms``, a number of seconds, or a timedelta. Never negative.

    Units may be given once each, largest first. Raises InvalidDuration.
    """
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > MAX_DURATION.total_seconds():
            raise InvalidDuration("is too long a duration")
        duration = timedelta(seconds=value)
    elif isinstance(value, str):
        duration = _parse_text(value.strip())
    else:
        raise InvalidDuration("is not a duration; write e.g. 1h, 30m, 10s or 500ms, or a number of seconds")
    if duration < timedelta(0):
        raise InvalidDuration("is a negative duration")
    if duration > MAX_DURATION:
        raise InvalidDuration("is too long a duration")
    return duration


def _parse_text(text: str) -> timedelta:
    if _NUMBER.fullmatch(text):
        return timedelta(microseconds=_microseconds(text, "s"))
    if not _WHOLE.fullmatch(text):
        raise InvalidDuration("is not a duration; write e.g. 1h, 30m, 10s or 500ms, or a number of seconds")
    parts = _PART.findall(text)
    sizes = [_UNIT_US[unit] for _, unit in parts]
    if sizes != sorted(set(sizes), reverse=True):
        raise InvalidDuration("names a unit twice or out of order; write the largest first, e.g. 1h30m")
    total = sum(_microseconds(number, unit) for number, unit in parts)
    if total > MAX_DURATION // timedelta(microseconds=1):
        raise InvalidDuration("is too long a duration")
    return timedelta(microseconds=total)


def _microseconds(number: str, unit: str) -> int:
    """Exact decimal arithmetic: floats would turn 0.3s into 299999 us."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole + fraction) * _UNIT_US[unit] // scale


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same duration, e.g. ``1h30m``; ``0s`` for none.

    A negative duration (something overdue) gets a minus sign, which `parse_duration` refuses.
    """
    if duration < timedelta(0):
        return "-" + format_duration(-duration)
    left = duration // timedelta(microseconds=1)
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _UNIT_US[unit])
        if count:
            text += f"{count}{unit}"
    if left:
        milliseconds, rest = divmod(left, 1000)
        text += f"{milliseconds}.{rest:03}".rstrip("0").rstrip(".") + "ms"
    return text or "0s"
