"""Charts as numbers: where each bar, tick and label of a drawing stands. Pure; templates write the SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; `title` says in words what it is, on hover and to who does not see it."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of an axis, at `at` along it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class BarChart:
    width: int
    height: int
    base: float  # y of the axis
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    top: int  # what the tallest column stands for
    total: int


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its parts from the bottom up, each (kind, count), and what it says."""

    parts: tuple[tuple[str, int], ...]
    title: str
    label: str = ""

    @property
    def total(self) -> int:
        return sum(count for _, count in self.parts)


LEFT, RIGHT, HEAD, FOOT = 34.0, 6.0, 12.0, 20.0


def bars(columns: Sequence[Column], width: int = 560, height: int = 150) -> BarChart:
    """Columns side by side, as high as their share of the tallest one. An empty one has a bar of no height."""
    top = max((each.total for each in columns), default=0)
    base = height - FOOT
    step = (width - LEFT - RIGHT) / max(len(columns), 1)
    gap = min(step * 0.22, 4.0)
    found: list[Bar] = []
    marks: list[Mark] = []
    for index, each in enumerate(columns):
        x, y = LEFT + index * step, base
        for kind, count in each.parts:
            tall = 0.0 if top == 0 else (base - HEAD) * count / top
            if count:
                tall = max(tall, 1.5)
            y -= tall
            found.append(Bar(_r(x + gap / 2), _r(y), _r(step - gap), _r(tall), kind, each.title))
        if each.label:
            marks.append(Mark(_r(x + step / 2), each.label))
    return BarChart(width, height, base, tuple(found), tuple(marks), top, sum(each.total for each in columns))


@dataclass(frozen=True, slots=True)
class Span:
    """Something that holds from one time to another; `kind` is its look."""

    name: str
    kind: str
    start: datetime
    end: datetime
    title: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One span, drawn."""

    y: float
    x: float
    width: float
    span: Span


@dataclass(frozen=True, slots=True)
class Timeline:
    width: int
    height: int
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    now: float
    left: float


ROW = 26.0


def timeline(spans: Sequence[Span], now: datetime, width: int = 900, left: float = 150.0) -> Timeline:
    """Spans below one another on one axis of time, from the first start to the last end, with room around now."""
    start = min((each.start for each in spans), default=now) - timedelta(minutes=1)
    end = max((each.end for each in spans), default=now)
    start, end = min(start, now - timedelta(minutes=1)), max(end, now + timedelta(minutes=1))
    whole = (end - start).total_seconds()
    room = width - left - RIGHT

    def at(when: datetime) -> float:
        return left + room * min(max((when - start).total_seconds() / whole, 0.0), 1.0)

    lines = [
        Line(_r(8 + index * ROW), _r(at(each.start)), _r(max(at(each.end) - at(each.start), 2.0)), each)
        for index, each in enumerate(spans)
    ]
    days = whole / 86400
    written = "%Y-%m" if days > 400 else "%b %d" if days > 3 else "%H:%M"
    marks = [
        Mark(_r(left + room * part / 4), (start + (end - start) * part / 4).strftime(written)) for part in range(5)
    ]
    return Timeline(width, int(8 + ROW * len(spans) + 22), tuple(lines), tuple(marks), _r(at(now)), left)


def share(part: int, whole: int) -> float:
    """Of a hundred; all of nothing is all."""
    return 100.0 if whole == 0 else _r(100 * min(part, whole) / whole)


def _r(value: float) -> float:
    return round(value, 2)
