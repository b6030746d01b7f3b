"""To whom the audit log is told beside the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SinkInfo:
    """A configured sink. `delivered_leaf` is the last leaf of the log that it was given, None before the first.

    `lag_events` and `lag_seconds` are of what it lacks; `problem` is empty, or why it takes nothing since
    `problem_since`; `holder` is the server process that tells it, empty while none does.
    """

    name: str
    kind: str
    delivered_leaf: int | None
    delivered_at: datetime | None
    lag_events: int
    lag_seconds: int
    problem: str
    problem_since: datetime | None
    holder: str


class SinkAdmin(Protocol):
    async def all(self) -> tuple[SinkInfo, ...]:
        """In the order of the configuration of the server that answers."""
        ...
