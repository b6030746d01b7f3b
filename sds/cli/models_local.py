"""Answers of an agent's own API, validated at the edge into frozen dataclasses. Unknown keys are ignored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OwnSvid:
    spiffe_id: str
    serial: str
    not_after: datetime
    renew_at: datetime | None


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    connected: bool
    since: datetime | None
    problem: str | None
    clock_skew_seconds: float | None


@dataclass(frozen=True, slots=True)
class Bundle:
    trust_domain: str
    sequence: int
    x509_authorities: int


@dataclass(frozen=True, slots=True)
class Secret:
    name: str
    spiffe_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Secrets:
    wanted: int
    held: int
    attention: tuple[Secret, ...]
    attention_total: int


@dataclass(frozen=True, slots=True)
class Status:
    version: str
    started_at: datetime
    now: datetime
    agent: OwnSvid
    server: Server
    bundle: Bundle
    socket: str
    synced: bool
    entries: int
    svids: int
    streams: int
    secrets: Secrets
    first_expiry: datetime | None


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Match:
    entry_id: str
    entry_revision: int
    spiffe_id: str
    serial: str | None
    not_after: datetime | None
    renew_at: datetime | None
    problem: str


@dataclass(frozen=True, slots=True)
class NearMiss:
    entry_id: str
    spiffe_id: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    process: Process
    selectors: tuple[str, ...]
    connected: bool
    streams: int
    synced: bool
    matching: tuple[Match, ...]
    near_misses: tuple[NearMiss, ...]
