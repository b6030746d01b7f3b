"""Times in the database: UTC microseconds since 1970 as a 64-bit integer.

An integer is the one form that SQLite (which has no time type and would compare texts) and PostgreSQL store, compare,
index and hand back identically and losslessly; there is no session time zone to get wrong, and it is the cheapest to
convert on the issuance path.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(time: datetime) -> int:
    """Aware time -> microseconds. Raises TypeError for a naive one."""
    return (time - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Microseconds -> aware UTC."""
    return EPOCH + timedelta(microseconds=micros)


def to_micros_or_none(time: datetime | None) -> int | None:
    return None if time is None else to_micros(time)


def from_micros_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
