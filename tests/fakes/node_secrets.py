"""The secrets of the small server for agents: grants by entry, values that the test changes, and what agents said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from sds._pb.sds.node.v1 import node_pb2

Want = tuple[str, str]  # entry ID, name
ABSENCE = node_pb2.SecretAbsence


@dataclass
class Stream:
    """One open WatchSecrets stream: what is wanted on it and what it is to be told."""

    wanted: dict[Want, str] = field(default_factory=dict)
    queue: asyncio.Queue[node_pb2.WatchSecretsResponse | None] = field(default_factory=asyncio.Queue)

    def tell(self, *updates: node_pb2.SecretUpdate) -> None:
        self.queue.put_nowait(node_pb2.WatchSecretsResponse(updates=updates))


class FakeSecrets:
    """Who is granted what is decided by entry ID. Values are sent to all streams that want them."""

    def __init__(self) -> None:
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.refused = 0
        self.mute = False
        """Hear what is wanted and say nothing."""
        self.streams: list[Stream] = []
        self.opened = 0
        self.heard: list[node_pb2.WatchSecretsRequest] = []
        self.sent: list[tuple[str, str, str]] = []
        """Entry ID, name and version of each value that was sent."""
        self._values: dict[str, node_pb2.SecretValue] = {}
        self._own: dict[Want, node_pb2.SecretValue] = {}
        self._grants: dict[str, set[str]] = {}
        self._broken: set[str] = set()

    # What the test says

    def put(
        self,
        name: str,
        version: str,
        fields: Mapping[str, bytes] | bytes,
        *entries: str,
        kind: str = "generic",
        not_after: datetime | None = None,
    ) -> None:
        """A new value, granted to these entries beside those before."""
        given = {"": fields} if isinstance(fields, bytes) else fields
        value = node_pb2.SecretValue(
            kind=kind,
            version=version,
            fields=[node_pb2.SecretField(name=field_name, value=value) for field_name, value in given.items()],
        )
        if not_after is not None:
            end = Timestamp()
            end.FromDatetime(not_after)
            value.not_after.CopyFrom(end)
        self._values[name] = value
        self._grants.setdefault(name, set()).update(entries)
        self._broken.discard(name)
        self._announce(name)

    def put_own(self, name: str, entry_id: str, value: node_pb2.SecretValue) -> None:
        """A value that only this entry has."""
        self._own[entry_id, name] = value
        self._announce(name)

    def revoke(self, name: str, entry_id: str) -> None:
        self._grants[name].discard(entry_id)
        self._announce(name)

    def fail(self, name: str) -> None:
        """Its source cannot be asked."""
        self._broken.add(name)
        self._announce(name)

    def say(self, *updates: node_pb2.SecretUpdate) -> None:
        """Whatever it is, on every stream."""
        for stream in self.streams:
            stream.tell(*updates)

    def cut(self) -> None:
        """End every stream."""
        for stream in self.streams:
            stream.queue.put_nowait(None)

    @property
    def wanted(self) -> set[Want]:
        return {want for stream in self.streams for want in stream.wanted}

    # The call

    async def serve(
        self, requests: AsyncIterator[node_pb2.WatchSecretsRequest], context: Any
    ) -> AsyncIterator[node_pb2.WatchSecretsResponse]:
        if self.refusal is not None:
            self.refused += 1
            await context.abort(*self.refusal)
        stream = Stream()
        self.opened += 1
        self.streams.append(stream)
        hearing = asyncio.create_task(self._hear(requests, stream))
        try:
            yield node_pb2.WatchSecretsResponse()
            while (message := await stream.queue.get()) is not None:
                yield message
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        finally:
            hearing.cancel()
            self.streams.remove(stream)

    async def _hear(self, requests: AsyncIterator[node_pb2.WatchSecretsRequest], stream: Stream) -> None:
        async for request in requests:
            self.heard.append(request)
            for want in request.unwanted:
                stream.wanted.pop((want.entry_id, want.name), None)
            for want in request.wanted:
                stream.wanted[want.entry_id, want.name] = want.held_version
                self._answer(stream, want.entry_id, want.name)

    def _announce(self, name: str) -> None:
        for stream in self.streams:
            for entry_id, wanted in list(stream.wanted):
                if wanted == name:
                    self._answer(stream, entry_id, name)

    def _answer(self, stream: Stream, entry_id: str, name: str) -> None:
        if self.mute:
            return
        value = self._own.get((entry_id, name)) or self._values.get(name)
        update = node_pb2.SecretUpdate(name=name, entry_ids=[entry_id])
        granted = (entry_id, name) in self._own or entry_id in self._grants.get(name, ())
        if value is None or not granted:
            update.absence.reason = ABSENCE.REASON_NOT_GRANTED
        elif name in self._broken:
            update.absence.reason = ABSENCE.REASON_UNAVAILABLE
        elif stream.wanted[entry_id, name] == value.version:
            update.absence.reason = ABSENCE.REASON_UNCHANGED
        else:
            update.value.CopyFrom(value)
            stream.wanted[entry_id, name] = value.version
            self.sent.append((entry_id, name, value.version))
        stream.tell(update)
