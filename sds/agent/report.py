"""Tells the server what this agent's streams hold and what was seen: at least once, in order, never in the way.

Reports are deltas, at most one an interval. Events wait in a bounded backlog, on disk where there is a spool; what
has to be dropped is counted, and its number is missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sds._pb.sds.node.v1 import node_pb2
from sds.agent.convert import timestamp
from sds.agent.dial import NodeLink
from sds.agent.errors import AgentError, InvalidAnswer
from sds.agent.spool.backlog import MemoryBacklog, Waiting
from sds.backoff import Backoff
from sds.clock import Clock
from sds.delivery.ports import CallerInfo
from sds.delivery.registry import StreamChanges, StreamState
from sds.logs import Logger
from sds.net.limits import Rate, TokenBuckets

STREAMS_PER_REPORT = 500
EVENTS_PER_REPORT = 1000
_NOBODY = CallerInfo()
_EVENTS_PER_SECOND = 5.0
"""Of one action and user, once half of the queue came at once: no local process fills the server's audit log."""
_LATE = 0.1  # seconds
_SHARE = 10
"""Reporting rests this many times as long as it worked: serving comes first."""


class Streams(Protocol):
    """The part of a StreamRegistry that is used here."""

    def start_over(self) -> None: ...

    def changes(self, limit: int) -> StreamChanges: ...


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def bundle_sequence(self) -> int: ...

    async def connected(self) -> NodeLink: ...


class Backlog(Protocol):
    """See sds.agent.spool.backlog."""

    def put(self, number: int, payload: bytes) -> bool: ...

    async def next(self, limit: int, given: int) -> Waiting: ...

    async def taken(self, waiting: Waiting) -> None: ...


class ReportObserver(Protocol):
    """Counts events that nobody will hear of."""

    def dropped(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """Something for the audit log. `outcome` is success, refused or failure."""

    time: datetime
    action: str
    outcome: str
    reason: str = ""
    caller: CallerInfo = _NOBODY
    stream_id: str = ""
    resource: str = ""
    version: str = ""


class Reporter:
    """`run_id` names this run of the agent; sequence numbers count within it."""

    def __init__(
        self,
        streams: Streams,
        upstream: Connection,
        run_id: str,
        *,
        interval: timedelta,
        queue: int,
        silent_for: timedelta,
        backoff: Backoff,
        observer: ReportObserver,
        clock: Clock,
        log: Logger,
        backlog: Backlog | None = None,
    ) -> None:
        """`silent_for`: how long no bundle is vouched for, since sidecars of before a restart may not be back yet.

        Without a `backlog` events wait in memory.
        """
        self._silent_for = silent_for.total_seconds()
        self._started = clock.monotonic()
        self._streams = streams
        self._upstream = upstream
        self._run_id = run_id
        self._interval = interval.total_seconds()
        self._backoff = backoff
        self._observer = observer
        self._clock = clock
        self._log = log
        self._dirty = asyncio.Event()
        self._sequence = 0
        self._event_number = 0
        self._backlog = backlog or MemoryBacklog(run_id, queue)
        self._sources = TokenBuckets(Rate(_EVENTS_PER_SECOND, max(1, queue // 2)))
        self._dropped = 0
        self._snapshot_due = True
        self._behind = False  # the last report could not hold all that there was to tell
        self._vouched = 0
        self._unsent: tuple[node_pb2.ReportDeliveryRequest, Waiting] | None = None

    def touch(self) -> None:
        """A stream has changed, or the bundle that the agent verifies by."""
        self._dirty.set()

    def add(self, event: SeenEvent) -> None:
        """Queue an event, or count it as dropped: when the queue is full, or a user causes too many of one action."""
        self._event_number += 1
        number = self._event_number
        within = self._sources.take((event.action, event.caller.uid), self._clock.monotonic())
        if not within or not self._backlog.put(number, event_message(number, event).SerializeToString()):
            self._dropped += 1
            self._observer.dropped(1)
        self._dirty.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        self._dirty.set()  # an agent without a stream has a bundle to tell of
        if self._silent_for:
            loop.call_later(self._silent_for + _LATE, self._dirty.set)
        while True:
            await self._dirty.wait()
            link = await self._upstream.connected()
            started = loop.time()
            try:
                await self.send(link)
                failures = 0
            except AgentError as error:
                failures += 1
                self._dirty.set()
                self._log.info("the delivery report was not taken", reason=str(error))
                delay = self._backoff.delay(failures, self._clock.jitter())
                await asyncio.sleep(delay.total_seconds())
                continue
            rest = _SHARE * (loop.time() - started)
            await asyncio.sleep(rest if self._behind else max(self._interval, rest))

    async def send(self, link: NodeLink) -> None:
        """Send one report, the unsent one first. Raises AgentError; then it is kept for the next time."""
        if self._unsent is None:
            self._dirty.clear()
            self._unsent = await self._next()
        request, waiting = self._unsent
        try:
            answer = await link.report(request)
        except InvalidAnswer as error:
            self._log.error("the server does not understand a delivery report; it is dropped", reason=str(error))
            self._unsent = None
            self._lost(request)
            await self._backlog.taken(waiting)  # what cannot be told must not be in the way of what can
            return
        self._unsent = None
        await self._backlog.taken(waiting)
        if answer.resync:
            self._snapshot_due = True
        if self._snapshot_due or self._behind:
            self._dirty.set()

    def _lost(self, request: node_pb2.ReportDeliveryRequest) -> None:
        self._dropped += len(request.events) + request.events_dropped
        self._observer.dropped(len(request.events))
        self._snapshot_due = True

    async def _next(self) -> tuple[node_pb2.ReportDeliveryRequest, Waiting]:
        waiting = await self._backlog.next(EVENTS_PER_REPORT, self._event_number)
        if self._snapshot_due:
            self._streams.start_over()
            self._snapshot_due = False
        changes = self._streams.changes(STREAMS_PER_REPORT)
        self._sequence += 1
        dropped, self._dropped = self._dropped, 0
        self._behind = changes.more or waiting.more
        # The server takes an agent's word for the bundle of all streams that it was not told of: until it was told of
        # all, we vouch for no more than before, and in the middle of a snapshot for nothing.
        if self._clock.monotonic() < self._started + self._silent_for:
            self._vouched = 0
        elif not changes.more:
            self._vouched = self._upstream.bundle_sequence
        elif changes.snapshot:
            self._vouched = 0
        request = node_pb2.ReportDeliveryRequest(
            run_id=self._run_id,
            sequence=self._sequence,
            snapshot=changes.snapshot,
            streams=[stream_message(state) for state in changes.streams],
            closed_stream_ids=changes.closed,
            events=waiting.events,
            events_dropped=dropped,
            bundle_sequence=self._vouched,
            events_run_id="" if waiting.run_id == self._run_id else waiting.run_id,
            events_through=waiting.through,
            events_cut=waiting.cut,
        )
        return request, waiting


def stream_message(state: StreamState) -> node_pb2.StreamState:
    return node_pb2.StreamState(
        id=state.id,
        protocol=state.protocol,
        process=_process(state.caller),
        spiffe_ids=state.caller.spiffe_ids,
        node_id=state.node_id,
        opened_at=timestamp(state.opened_at),
        resources=[
            node_pb2.ResourceState(
                name=resource.name,
                sent_version=resource.sent_version,
                sent_serial=resource.sent_serial,
                sent_at=timestamp(resource.sent_at),
                acked_version=resource.acked_version,
                acked_serial=resource.acked_serial,
                acked_at=timestamp(resource.acked_at),
                nacked_version=resource.nacked_version,
                nack_detail=resource.nack_detail,
                sent_sequence=resource.sent_sequence,
                acked_sequence=resource.acked_sequence,
            )
            for resource in state.resources
        ],
    )


def event_message(number: int, event: SeenEvent) -> node_pb2.DeliveryEvent:
    return node_pb2.DeliveryEvent(
        number=number,
        time=timestamp(event.time),
        action=event.action,
        outcome=event.outcome,
        reason=event.reason,
        process=_process(event.caller),
        stream_id=event.stream_id,
        resource=event.resource,
        version=event.version,
        selectors=event.caller.selectors,
        spiffe_ids=event.caller.spiffe_ids,
    )


def _process(caller: CallerInfo) -> node_pb2.ProcessInfo:
    return node_pb2.ProcessInfo(pid=caller.pid, uid=caller.uid, path=caller.path, container=caller.container)
