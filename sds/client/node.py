"""The agent on this node, at its own admin socket; it answers also when the server is away."""

from __future__ import annotations

from sds.client.nouns import Noun
from sds.client.results import Many, Result, Time


class OwnSvid(Result):
    spiffe_id: str
    serial: str
    not_after: Time
    renew_at: Time | None


class Server(Result):
    address: str
    connected: bool
    since: Time | None
    problem: str | None
    clock_skew_seconds: float | None


class Bundle(Result):
    trust_domain: str
    sequence: int
    x509_authorities: int


class Secret(Result):
    name: str
    spiffe_id: str
    state: str


class Secrets(Result):
    wanted: int
    held: int
    attention: Many[Secret]
    attention_total: int


class AuditLog(Result):
    """The newest checkpoint that the server told. `contradiction` is empty, or what spoke against the one before."""

    size: int
    note: str
    seen_at: Time | None
    contradiction: str


class Status(Result):
    version: str
    started_at: Time
    now: Time
    agent: OwnSvid
    server: Server
    bundle: Bundle
    socket: str
    synced: bool
    entries: int
    svids: int
    streams: int
    secrets: Secrets
    audit: AuditLog | None = None
    first_expiry: Time | None


class Process(Result):
    pid: int
    uid: int
    gid: int


class Match(Result):
    entry_id: str
    entry_revision: int
    spiffe_id: str
    serial: str | None
    not_after: Time | None
    renew_at: Time | None
    problem: str


class NearMiss(Result):
    entry_id: str
    spiffe_id: str
    missing: Many[str]


class Explained(Result):
    process: Process
    selectors: Many[str]
    connected: bool
    streams: int
    synced: bool
    matching: Many[Match]
    near_misses: Many[NearMiss]


class Node(Noun):
    def status(self) -> Status:
        """How the agent is: its own SVID, its server, what it holds."""
        return self._get(Status, "/v1/status")

    def explain(self, pid: int) -> Explained:
        """What a process of this node proves, which entries match it, and what the nearest others would need.

        Raises NotFound where there is no such process.
        """
        return self._get(Explained, "/v1/explain", {"pid": pid})
