"""Reading options that are more than text. Each raises a usage error (exit code 2) that says how to write it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer

from sds.durations import InvalidDuration, format_duration, parse_duration


def duration(text: str | None) -> str | None:
    """A duration, checked here so that a typing mistake needs no server."""
    if text is None:
        return None
    try:
        return format_duration(parse_duration(text))
    except InvalidDuration as error:
        raise typer.BadParameter(str(error)) from None


def duration_or_default(text: str | None) -> str | None:
    """A duration, or ``default`` for the server's own."""
    return text if text == "default" else duration(text)


def time_or_never(text: str | None) -> str | None:
    """An RFC 3339 time with its offset, or ``never``."""
    if text not in (None, "never") and _moment(text or "") is None:
        raise typer.BadParameter("must be never or a time with its offset, e.g. 2030-01-31T12:00:00Z")
    return text


def time(text: str) -> datetime:
    """An RFC 3339 time with its offset."""
    found = _moment(text)
    if found is None:
        raise typer.BadParameter("must be a time with its offset, e.g. 2030-01-31T12:00:00Z")
    return found


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def labels(texts: Sequence[str] | None) -> list[str] | None:
    """``key=value`` each; one empty text stands for none at all (to clear them)."""
    if texts is None or list(texts) == [""]:
        return None if texts is None else [""]
    for text in texts:
        key, equals, _ = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter("must be key=value")
    if len({text.partition("=")[0] for text in texts}) != len(texts):
        raise typer.BadParameter("names a key twice")
    return list(texts)


def as_labels(texts: Sequence[str]) -> dict[str, str]:
    """Checked labels as an object."""
    return dict(_pair(text) for text in texts if text)


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value
