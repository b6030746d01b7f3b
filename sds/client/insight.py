"""Who would get what, and the numbers of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sds.client.entries import Entry
from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time


class NearMiss(Result):
    """An entry that does not match: the selectors that were not given, and whether its parent is another one."""

    entry: Entry
    missing: Many[str]
    parent_differs: bool


class Explanation(Result):
    """`matching` is cut, `matching_total` is not. `secrets`: names by the ID of a matching entry."""

    matching: Many[Entry]
    matching_total: int
    near: Many[NearMiss]
    secrets: dict[str, Many[str]]


class Expiring(Result):
    """Of how many identities the newest certificate ends in [start, end)."""

    start: Time
    end: Time
    count: int


class AuditHealth(Result):
    """`events_waiting`: not under a checkpoint yet. `oldest_lag_seconds`: of the sink that is furthest behind."""

    size: int
    checkpoint_at: Time | None
    events_waiting: int
    sinks: int
    sinks_in_trouble: int
    oldest_lag_seconds: int


class Statistics(Result):
    """As of `at`. Numbers a minute are of the last hour, oldest first; `agents_connected` are one replica's."""

    at: Time
    entries: int
    identities: int
    certificates: int
    agents: int
    agents_connected: int
    agents_silent: int
    agents_banned: int
    streams: int
    streams_nacked: int
    streams_behind: int
    secrets: int
    secrets_in_trouble: int
    grants: int
    issued_a_minute: Many[int]
    refused_a_minute: Many[int]
    expiring: Many[Expiring]
    rotation: str
    audit: AuditHealth


class Insight(Noun):
    @operation("explain")
    def explain(self, selectors: Sequence[str], *, parent_id: str | None = None) -> Explanation:
        """What a process with these selectors gets, below this agent or any, and what the nearest entries want."""
        body: dict[str, Any] = {"selectors": [*selectors]}
        return self._post(
            Explanation,
            "/v1/explain",
            body if parent_id is None else {**body, "parent_id": parent_id},
            keyed=False,
        )

    @operation("statistics.show")
    def statistics(self) -> Statistics:
        """Some seconds old at most."""
        return self._get(Statistics, "/v1/statistics")
