"""Agents that have proved themselves."""

from __future__ import annotations

from collections.abc import Iterator

from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time
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


class Agents(Noun):
    @operation("agent.list")
    def list(
        self, *, banned: bool | None = None, attestation_type: str | None = None, limit: int | None = None
    ) -> Iterator[Agent]:
        query = {"banned": banned, "attestation_type": attestation_type}
        return self._pages(Agent, _PATH, "agents", query, limit=limit)

    @operation("agent.show")
    def get(self, agent_id: str) -> Agent:
        return self._get(Agent, f"{_PATH}/{part(agent_id)}")

    @operation("agent.ban")
    def ban(self, agent_id: str, reason: str = "") -> Agent:
        """Cuts it off now; its workloads keep what they hold until that expires."""
        return self._post(Agent, f"{_PATH}/{part(agent_id)}/ban", {"reason": reason})

    @operation("agent.delete")
    def delete(self, agent_id: str) -> Agent:
        """Forgets it, ban included; what stood."""
        return self._delete(Agent, f"{_PATH}/{part(agent_id)}")
