"""What `/live` and `/ready` look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypedDict

from sds.agent.cache import Cache
from sds.agent.upstream import UpstreamStatus
from sds.http.ops import Check


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def status(self) -> UpstreamStatus: ...


class Checks(TypedDict):
    live: Mapping[str, Check]
    ready: Mapping[str, Check]


def checks(upstream: Connection, cache: Cache) -> Checks:
    """Live: the loop answers. Ready: new sidecars can be served.

    A server that is away does not make an agent unready that has heard everything once: it goes on serving, and taking
    it out of service would turn the server's outage into everybody's.
    """

    async def loop() -> str | None:
        return None

    async def server() -> str | None:
        status = upstream.status
        if status.refused:
            return f"the server serves this agent no more: {status.problem}"
        if not cache.synced:
            return f"nothing heard from the server yet: {status.problem or 'waiting for its first word'}"
        return None

    return {"live": {"loop": loop}, "ready": {"server": server}}
