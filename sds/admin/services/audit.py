"""The audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sds.admin.services.common import AdminCall
from sds.audit.event import AuditEvent, Outcome


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An audit event and its place in the log."""

    sequence: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A place in the log whose event somebody has altered by hand into what is none. `why`: safe to show."""

    sequence: int
    why: str


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Ascending by sequence. `after` None: the newest `limit` events; else the first `limit` ones after it."""

    after: int | None = None
    limit: int = 100
    action: str | None = None  # exact, or a prefix that ends in a dot: "entry."
    outcome: str | None = None
    actor: str | None = None
    target: str | None = None
    since: datetime | None = None  # not before
    until: datetime | None = None  # before
    request_id: str | None = None
    before: int | None = None  # a sequence: with `after` None, the newest ones below it


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody asks to be shown: all of it bounded, and cleaned of what looks like a secret.

    `target`: what the path names, "" where it names nothing. `asked`: the query, without places in a list, as it is
    written in URLs. `more_than`: this stands for all further ones of the operation, which differ and were too many.
    `missed`: reads before it, of anybody, that could not be noted.
    """

    operation: str
    target: str = ""
    asked: str = ""
    more_than: int = 0
    missed: int = 0


class AuditAdmin(Protocol):
    async def tail(self, query: AuditQuery, wait: timedelta) -> tuple[AuditRow | UnreadableRow, ...]:
        """Matching events; if there are none and `wait` > 0, waits that long for one (long poll), then ()."""
        ...

    async def refused(
        self, call: AdminCall, action: str, target: str, reason: str, *, outcome: Outcome = Outcome.REFUSED
    ) -> None:
        """Records that something was refused, or failed, in a transaction of its own."""
        ...

    async def noted(self, call: AdminCall, reading: Reading) -> None:
        """Records that something is about to be read (``admin.read``), in a transaction of its own."""
        ...
