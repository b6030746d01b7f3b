"""All open streams and what each holds: for `sds agent streams` and for delivery reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sds.clock import Clock
from sds.delivery.messages import Node
from sds.delivery.ports import Caller, CallerInfo
from sds.delivery.subscription import Slot
from sds.delivery.text import clean_name

MAX_CLOSED = 10_000
"""Closed streams kept for the next `changes()`; with more, that is a snapshot instead."""


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One name on one stream. Versions and serials are empty, times None, where there is none."""

    name: str
    sent_version: str
    sent_serial: str
    sent_at: datetime | None
    acked_version: str
    acked_serial: str
    acked_at: datetime | None
    nacked_version: str
    nack_detail: str
    refusal: str  # why the name resolves to nothing now


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream at one moment."""

    id: str
    protocol: str
    caller: CallerInfo
    node_id: str
    opened_at: datetime
    resources: tuple[ResourceState, ...]


@dataclass(frozen=True, slots=True)
class StreamChanges:
    """What is new since the last `changes()`. A snapshot has all streams, and those not in it are closed."""

    snapshot: bool
    streams: tuple[StreamState, ...]
    closed: tuple[str, ...]


class Core(Protocol):
    """What a stream holds, whatever it speaks."""

    @property
    def slots(self) -> Sequence[Slot]: ...

    @property
    def node(self) -> Node: ...


class LiveStream:
    """An open stream: the StreamInfo that observers see."""

    __slots__ = ("_caller", "core", "id", "opened_at", "protocol")

    def __init__(self, stream_id: str, protocol: str, caller: Caller, core: Core, opened_at: float) -> None:
        self.id = stream_id
        self.protocol = protocol
        self.core = core
        self.opened_at = opened_at  # monotonic seconds
        self._caller = caller

    @property
    def caller(self) -> CallerInfo:
        return self._caller.description

    @property
    def node_id(self) -> str:
        return self.core.node.id


class StreamRegistry:
    """Keeps the open streams. `changes()` has one consumer; a stream that changed often in between costs it once."""

    __slots__ = ("_changed", "_clock", "_closed", "_number", "_run_id", "_streams")

    def __init__(self, run_id: str, clock: Clock) -> None:
        """`run_id` sets this run's stream IDs apart from those of every other run: short, random, printable ASCII."""
        self._run_id = run_id
        self._clock = clock
        self._number = 0
        self._streams: dict[str, LiveStream] = {}
        self._changed: set[LiveStream] = set()
        self._closed: set[str] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def next_id(self) -> str:
        """A stream ID that no other stream has, in any run."""
        self._number += 1
        return f"{self._run_id}-{self._number}"

    def add(self, stream: LiveStream) -> None:
        self._streams[stream.id] = stream
        self._changed.add(stream)

    def touch(self, stream: LiveStream) -> None:
        """Something of `stream` changed."""
        self._changed.add(stream)

    def remove(self, stream: LiveStream) -> None:
        del self._streams[stream.id]
        self._changed.discard(stream)
        if len(self._closed) <= MAX_CLOSED:
            self._closed.add(stream.id)

    def snapshot(self) -> tuple[StreamState, ...]:
        """All open streams as of now."""
        return self._states(self._streams.values())

    def changes(self) -> StreamChanges:
        """What changed since the last call; the caller keeps it until its reader has it."""
        changed, self._changed = self._changed, set()
        closed, self._closed = self._closed, set()
        if len(closed) > MAX_CLOSED:
            return StreamChanges(snapshot=True, streams=self.snapshot(), closed=())
        return StreamChanges(snapshot=False, streams=self._states(changed), closed=tuple(sorted(closed)))

    def _states(self, streams: Iterable[LiveStream]) -> tuple[StreamState, ...]:
        """Monotonic seconds become wall-clock times here, so a stepped clock bends no figure in between."""
        start = self._clock.now() - timedelta(seconds=self._clock.monotonic())

        def when(tick: float) -> datetime | None:
            return start + timedelta(seconds=tick) if tick else None

        return tuple(
            StreamState(
                id=stream.id,
                protocol=stream.protocol,
                caller=stream.caller,
                node_id=stream.node_id,
                opened_at=start + timedelta(seconds=stream.opened_at),
                resources=tuple(_resource(slot, when) for slot in stream.core.slots),
            )
            for stream in streams
        )


def _resource(slot: Slot, when: Callable[[float], datetime | None]) -> ResourceState:
    return ResourceState(
        name=clean_name(slot.name),
        sent_version=slot.sent_version,
        sent_serial=slot.sent_serial,
        sent_at=when(slot.sent_at),
        acked_version=slot.acked_version,
        acked_serial=slot.acked_serial,
        acked_at=when(slot.acked_at),
        nacked_version=slot.nacked_version,
        nack_detail=slot.nack_detail,
        refusal=slot.refusal,
    )
