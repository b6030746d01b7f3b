"""/changes: server-sent events that say which pages are no longer what they were. They carry topics, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sds.admin.errors import TooManyRequests
from sds.admin.pages.security import HEADERS
from sds.admin.services import AuditAdmin, AuditQuery, AuditRow, UnreadableRow
from sds.logs import get_logger

log = get_logger(__name__)

TOPICS = {
    "entry": ("entries", "overview"),
    "agent": ("fleet", "overview"),
    "workload": ("fleet", "overview"),
    "delivery": ("fleet", "overview"),
    "report": ("fleet",),
    "certificate": ("certificates", "overview"),
    "secret": ("secrets",),
    "grant": ("secrets",),
    "authority": ("authorities", "overview"),
    "rotation": ("authorities", "overview"),
    "bundle": ("authorities",),
    "revocation": ("revoke", "certificates"),
    "block": ("revoke",),
    "approval": ("access",),
    "access": ("access",),
    "notice": ("notices",),
}
"""By the first word of an audit event's action. Reading (`admin.read`) changes no page, or pages would never rest."""


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """`streams` at once, `each`: of one caller. A stream ends after `seconds`, so that who may is asked again."""

    streams: int = 64
    each: int = 4  # a browser has six connections for one host; pages need some, too
    seconds: float = 300
    heartbeat: float = 15
    settle: float = 0.5
    """How long changes are gathered before they are told: a thousand certificates are one change of a page."""


class Live:
    """One follower of the audit log for all streams, and only while there are any."""

    def __init__(self, audit: AuditAdmin, limits: LiveLimits | None = None) -> None:
        self._audit = audit
        self._limits = limits or LiveLimits()
        self._open: dict[asyncio.Queue[frozenset[str]], str] = {}
        self._follower: asyncio.Task[None] | None = None

    async def stream(self, request: Request) -> Response:
        """Raises TooManyRequests; pages then ask every now and then. For EventSource, which says what it takes."""
        if "text/event-stream" not in request.headers.get("accept", ""):
            return Response(status_code=406, headers=dict(HEADERS))
        caller = request.scope["state"]["call"].caller.id
        mine = sum(one == caller for one in self._open.values())
        if len(self._open) >= self._limits.streams or mine >= self._limits.each:
            raise TooManyRequests("too many pages are being kept up to date at once", self._limits.heartbeat)
        return StreamingResponse(self._events(caller), media_type="text/event-stream", headers=dict(HEADERS))

    async def _events(self, caller: str) -> AsyncIterator[bytes]:
        """Heartbeats count as changes of the fleet: who holds what is reported, and is no audit event."""
        queue: asyncio.Queue[frozenset[str]] = asyncio.Queue(maxsize=16)
        self._open[queue] = caller
        if self._follower is None or self._follower.done():
            self._follower = asyncio.create_task(self._follow(), name="live pages")
        clock = asyncio.get_running_loop().time
        end = clock() + self._limits.seconds
        try:
            yield b"retry: 5000\n\n"
            while clock() < end:
                for topic in sorted(await self._next(queue)):
                    yield b"event: changed\ndata: %s\n\n" % topic.encode()
        finally:
            del self._open[queue]
            if not self._open and self._follower is not None:
                self._follower.cancel()
                self._follower = None

    async def _next(self, queue: asyncio.Queue[frozenset[str]]) -> frozenset[str]:
        try:
            async with asyncio.timeout(self._limits.heartbeat):
                return await queue.get()
        except TimeoutError:
            return frozenset({"fleet", "heartbeat"})

    async def _follow(self) -> None:
        last: int | None = None
        while True:
            try:
                last = await self._once(last)
            except Exception as error:  # noqa: BLE001  # a store that is away: pages are late meanwhile, no more
                log.warning("pages are not kept up to date", error=type(error).__qualname__)
                await asyncio.sleep(self._limits.heartbeat)

    async def _once(self, last: int | None) -> int:
        """One look at the log; where it stands now."""
        if last is None:
            newest = await self._audit.tail(AuditQuery(limit=1), timedelta(0))
            return newest[-1].sequence if newest else 0
        rows = await self._audit.tail(AuditQuery(after=last, limit=1000), timedelta(seconds=self._limits.heartbeat))
        if not rows:
            return last
        topics = topics_of(rows)
        for queue in list(self._open) if topics else ():
            with contextlib.suppress(asyncio.QueueFull):  # it has enough to tell already
                queue.put_nowait(topics)
        await asyncio.sleep(self._limits.settle)
        return rows[-1].sequence


def topics_of(rows: Iterable[AuditRow | UnreadableRow]) -> frozenset[str]:
    """What these events change; any but a read changes the audit page."""
    found: set[str] = set()
    for row in rows:
        action = row.event.action if isinstance(row, AuditRow) else "audit.unreadable"
        if action != "admin.read":
            found |= {"audit", *TOPICS.get(action.split(".", 1)[0], ())}
    return frozenset(found)
