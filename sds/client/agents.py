"""Agents that have proved themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypedDict, Unpack

from sds.client.nouns import ExportFormat, Noun, operation
from sds.client.results import Many, Result, Time
from sds.client.revocations import BlastRadius
from sds.client.transport.connection import part

_PATH = "/v1/agents"


class Agent(Result):
    """`entries` and `streams` are numbers; `not_after` is its SVID's."""

    spiffe_id: str
    attestation_type: str
    selectors: Many[str]
    serial: str
    not_after: Time
    attested_at: Time
    renewed_at: Time | None
    last_seen: Time | None
    banned: bool
    banned_at: Time | None
    banned_reason: str
    address: str
    version: str
    downstream: bool
    connected: bool
    entries: int
    streams: int


class AgentGone(Agent):
    """`blast_radius`: of a dry run, which changes nothing: what it asked for, and who holds that now."""

    dry_run: bool = False
    blast_radius: BlastRadius | None = None


class AgentFilter(TypedDict, total=False):
    """All must hold. `sort`: spiffe_id, attested or expires; with a minus the other way round."""

    banned: bool | None
    attestation_type: str | None
    below: str | None
    version: str | None
    downstream: bool | None
    silent_since: datetime | None
    sort: str | None


class Agents(Noun):
    @operation("agent.list")
    def list(self, *, limit: int | None = None, **wanted: Unpack[AgentFilter]) -> Iterator[Agent]:
        return self._pages(Agent, _PATH, "agents", wanted, limit=limit)

    @operation("agent.export")
    def export(self, export_format: ExportFormat = "jsonl", **wanted: Unpack[AgentFilter]) -> Iterator[bytes]:
        """The whole listing, line by line as it comes."""
        return self._calls.lines(f"{_PATH}:export", {**wanted, "format": export_format})

    @operation("agent.show")
    def get(self, agent_id: str) -> Agent:
        return self._get(Agent, f"{_PATH}/{part(agent_id)}")

    @operation("agent.ban")
    def ban(self, agent_id: str, reason: str = "", *, dry_run: bool = False, if_match: str | None = None) -> AgentGone:
        """Cuts it off now; its workloads keep what they hold until that expires."""
        path, query = f"{_PATH}/{part(agent_id)}/ban", {"dry_run": dry_run or None}
        return self._post(AgentGone, path, {"reason": reason}, query, keyed=not dry_run, if_match=if_match)

    @operation("agent.delete")
    def delete(self, agent_id: str, *, dry_run: bool = False, if_match: str | None = None) -> AgentGone:
        """Forgets it, ban included; what stood."""
        query = {"dry_run": dry_run or None}
        return self._delete(AgentGone, f"{_PATH}/{part(agent_id)}", query, if_match=if_match)
