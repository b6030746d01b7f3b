"""All open streams and what each holds: for `sds agent streams` and for delivery reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol

from sds.clock import Clock
from sds.delivery.messages import Node
from sds.delivery.ports import Caller, CallerInfo
from sds.delivery.subscription import Slot
from sds.delivery.text import clean_name

MAX_CLOSED = 10_000
"""Closed streams kept for `changes()`; with more, it starts over."""


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
    sent_sequence: int = 0  # of our own bundle in what was sent; 0 where there is none in it
    acked_sequence: int = 0


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
    """What is new since the last `changes()`. `snapshot`: whatever was told before is void. `more`: more is waiting."""

    snapshot: bool
    streams: tuple[StreamState, ...]
    closed: tuple[str, ...]
    more: bool


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

    __slots__ = ("_changed", "_clock", "_closed", "_number", "_run_id", "_starts_over", "_streams")

    def __init__(self, run_id: str, clock: Clock) -> None:
        """`run_id` sets this run's stream IDs apart from those of every other run: short, random, printable ASCII."""
        self._run_id = run_id
        self._clock = clock
        self._number = 0
        self._streams: dict[str, LiveStream] = {}
        self._changed: dict[LiveStream, None] = {}  # in the order in which they changed
        self._closed: dict[str, None] = {}
        self._starts_over = False

    def __len__(self) -> int:
        return len(self._streams)

    def next_id(self) -> str:
        """A stream ID that no other stream has, in any run."""
        self._number += 1
        return f"{self._run_id}-{self._number}"

    def add(self, stream: LiveStream) -> None:
        self._streams[stream.id] = stream
        self._changed[stream] = None

    def touch(self, stream: LiveStream) -> None:
        """Something of `stream` changed."""
        self._changed[stream] = None

    def remove(self, stream: LiveStream) -> None:
        del self._streams[stream.id]
        self._changed.pop(stream, None)
        if len(self._closed) <= MAX_CLOSED:
            self._closed[stream.id] = None

    def snapshot(self) -> tuple[StreamState, ...]:
        """All open streams as of now."""
        return self._states(self._streams.values())

    def start_over(self) -> None:
        """Whoever reads `changes()` has lost what it was told: tell everything that is open once more."""
        self._changed = dict.fromkeys(self._streams.values())
        self._closed.clear()
        self._starts_over = True

    def changes(self, limit: int) -> StreamChanges:
        """What changed since the last call, oldest first: at most `limit` streams and as many closed ones.

        With thousands of streams all of it at once would hold up the loop; the rest stays for the next call. A stream
        that has closed is not told as open any more. The caller keeps the answer until its reader has it.
        """
        if len(self._closed) > MAX_CLOSED:
            self.start_over()
        snapshot, self._starts_over = self._starts_over, False
        changed, closed = tuple(islice(self._changed, limit)), tuple(islice(self._closed, limit))
        for stream in changed:
            del self._changed[stream]
        for stream_id in closed:
            del self._closed[stream_id]
        more = bool(self._changed or self._closed)
        return StreamChanges(snapshot, self._states(changed), closed, more)

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
        sent_sequence=slot.sent_sequence,
        acked_sequence=slot.acked_sequence,
    )
