"""The fleet view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypedDict, Unpack

from sds.client.nouns import ExportFormat, Noun, operation
from sds.client.results import Many, Result, Time

_PATH = "/v1/streams"
Order = Literal["agent", "-agent", "opened", "-opened", "lag", "-lag"]


class Process(Result):
    pid: int
    uid: int
    path: str


class Resource(Result):
    """A certificate, a bundle or a secret on a stream: its version as it was sent, accepted, refused."""

    name: str
    sent_version: str
    acked_version: str
    nacked_version: str
    nack_detail: str
    sent_at: Time | None
    acked_at: Time | None
    sent_serial: str
    acked_serial: str
    lag_seconds: float = 0.0


class Stream(Result):
    """`agent_id` is empty where the agent itself answers. `behind`: it owes an answer, for `lag_seconds` already."""

    id: str
    protocol: str
    process: Process
    spiffe_ids: Many[str]
    node_id: str
    opened_at: Time
    resources: Many[Resource]
    agent_id: str = ""
    nacked: bool = False
    behind: bool = False
    lag_seconds: float = 0.0


class StreamFilter(TypedDict, total=False):
    """All must hold. `resource`: a name that it has asked for. `nacked`: it refused the newest version of something."""

    agent_id: str | None
    spiffe_id: str | None
    node_id: str | None
    protocol: str | None
    resource: str | None
    nacked: bool | None
    behind: bool | None
    sort: Order | None


class Streams(Noun):
    @operation("stream.list")
    def list(self, *, limit: int | None = None, **wanted: Unpack[StreamFilter]) -> Iterator[Stream]:
        return self._pages(Stream, _PATH, "streams", wanted, limit=limit)

    @operation("stream.export")
    def export(self, export_format: ExportFormat = "jsonl", **wanted: Unpack[StreamFilter]) -> Iterator[bytes]:
        """A row for each resource of each stream, line by line as it comes."""
        return self._calls.lines(f"{_PATH}:export", {**wanted, "format": export_format})
