"""The fleet view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from sds.client.nouns import Noun, operation
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


class Streams(Noun):
    @operation("stream.list")
    def list(
        self,
        *,
        agent_id: str | None = None,
        spiffe_id: str | None = None,
        node_id: str | None = None,
        protocol: str | None = None,
        resource: str | None = None,
        nacked: bool | None = None,
        behind: bool | None = None,
        sort: Order | None = None,
        limit: int | None = None,
    ) -> Iterator[Stream]:
        """`resource`: a name that it has asked for. `nacked`: it refused the newest version of something."""
        query = {
            "agent_id": agent_id,
            "spiffe_id": spiffe_id,
            "node_id": node_id,
            "protocol": protocol,
            "resource": resource,
            "nacked": nacked,
            "behind": behind,
            "sort": sort,
        }
        return self._pages(Stream, _PATH, "streams", query, limit=limit)
