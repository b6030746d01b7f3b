"""Who would get what, and the numbers of the overview, as JSON."""

from __future__ import annotations

from pydantic import Field

from sds.admin.services.explain import Explanation
from sds.admin.services.statistics import Statistics
from sds.admin.wire.common import Input, Output, SelectorField, SpiffeIdField, TimeOut
from sds.admin.wire.entries import EntryOut, entry_out

MAX_SELECTORS = 256


class ExplainIn(Input):
    """`parent_id`: the agent whose workload has these selectors; any, if it is not given."""

    parent_id: SpiffeIdField | None = None
    selectors: list[SelectorField] = Field(min_length=1, max_length=MAX_SELECTORS)


class NearOut(Output):
    """An entry that does not match: what it asks for beside what was given, and whether its parent is another one."""

    entry: EntryOut
    missing: list[str]
    parent_differs: bool


class ExplanationOut(Output):
    """`matching`: at most 1000 of `matching_total`. `near`: those that lack least. `secrets`: names by entry ID."""

    matching: list[EntryOut]
    matching_total: int
    near: list[NearOut]
    secrets: dict[str, list[str]]


class ExpiringOut(Output):
    """Of how many identities the newest certificate ends in [start, end)."""

    start: TimeOut
    end: TimeOut
    count: int


class AuditHealthOut(Output):
    """`events_waiting`: not under a checkpoint yet. `oldest_lag_seconds`: of the sink that is furthest behind."""

    size: int
    checkpoint_at: TimeOut | None
    events_waiting: int
    sinks: int
    sinks_in_trouble: int
    oldest_lag_seconds: int


class StatisticsOut(Output):
    """As of `at`. Numbers a minute are of the last hour, oldest first; `agents_connected` are this replica's."""

    at: TimeOut
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
    issued_a_minute: list[int]
    refused_a_minute: list[int]
    expiring: list[ExpiringOut]
    rotation: str
    audit: AuditHealthOut


def explanation_out(found: Explanation) -> ExplanationOut:
    return ExplanationOut(
        matching=[entry_out(each) for each in found.matching],
        matching_total=found.matching_total,
        near=[
            NearOut(entry=entry_out(each.entry), missing=list(each.missing), parent_differs=each.parent_differs)
            for each in found.near
        ],
        secrets={entry_id: list(names) for entry_id, names in found.secrets.items()},
    )


def statistics_out(found: Statistics) -> StatisticsOut:
    return StatisticsOut.model_validate(found, from_attributes=True)
