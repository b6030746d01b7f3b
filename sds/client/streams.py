"""The fleet view."""

from __future__ import annotations

from collections.abc import Iterator

from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time

_PATH = "/v1/streams"


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


class Stream(Result):
    """`agent_id` is empty where the agent itself answers."""

    id: str
    protocol: str
    process: Process
    spiffe_ids: Many[str]
    node_id: str
    opened_at: Time
    resources: Many[Resource]
    agent_id: str = ""


class Streams(Noun):
    @operation("stream.list")
    def list(
        self, *, agent_id: str | None = None, spiffe_id: str | None = None, limit: int | None = None
    ) -> Iterator[Stream]:
        return self._pages(Stream, _PATH, "streams", {"agent_id": agent_id, "spiffe_id": spiffe_id}, limit=limit)
