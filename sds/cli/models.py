"""Answers of the admin API, validated at the edge into frozen dataclasses. Unknown keys are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from sds.cli.errors import CliError, ExitCode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    id: str
    revision: int
    spiffe_id: str
    parent_id: str
    selectors: tuple[str, ...]
    x509_ttl: float | None
    dns_names: tuple[str, ...]
    hint: str
    owner: str
    labels: Mapping[str, str]
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    jwt_ttl: float | None = None
    federates_with: tuple[str, ...] = ()
    profile: str = ""
    extra_sans: tuple[str, ...] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class EntryPage:
    entries: tuple[Entry, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Deleted:
    entry: Entry
    last_certificate_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    action: str
    spiffe_id: str
    parent_id: str
    selectors: tuple[str, ...]
    entry: Entry | None
    changes: Mapping[str, tuple[Any, Any]]
    last_certificate_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Applied:
    dry_run: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """Holds the token: never print it but where it was asked for."""

    token: str
    spiffe_id: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Token({self.spiffe_id}, ***)"


@dataclass(frozen=True, slots=True)
class Agent:
    spiffe_id: str
    attestation_type: str
    selectors: tuple[str, ...]
    serial: str
    not_after: datetime
    attested_at: datetime
    renewed_at: datetime | None
    last_seen: datetime | None
    banned: bool
    banned_at: datetime | None
    banned_reason: str
    address: str
    version: str
    downstream: bool
    connected: bool
    entries: int
    streams: int


@dataclass(frozen=True, slots=True)
class AgentPage:
    agents: tuple[Agent, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    uid: int
    path: str


@dataclass(frozen=True, slots=True)
class Resource:
    name: str
    sent_version: str
    acked_version: str
    nacked_version: str
    nack_detail: str
    sent_at: datetime | None
    acked_at: datetime | None
    sent_serial: str
    acked_serial: str


@dataclass(frozen=True, slots=True)
class Stream:
    id: str
    protocol: str
    process: Process
    spiffe_ids: tuple[str, ...]
    node_id: str
    opened_at: datetime
    resources: tuple[Resource, ...]
    agent_id: str = ""


@dataclass(frozen=True, slots=True)
class StreamPage:
    streams: tuple[Stream, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    old_id: str
    new_id: str
    rewrapped: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Party:
    """An event's actor or target; only actors have an address."""

    kind: str
    id: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    sequence: int
    time: datetime
    action: str
    outcome: str
    actor: Party
    target: Party
    reason: str


@dataclass(frozen=True, slots=True)
class EventPage:
    events: tuple[Event, ...]
    last_sequence: int


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once a kind: making one takes as long as reading a thousand values."""
    return TypeAdapter(kind)


def read(kind: type[T], value: object) -> T:
    """`value` as a `kind`. Raises CliError if it is not one; the error never repeats the value."""
    try:
        found: T = _adapter(cast("Any", kind)).validate_python(value)
    except ValidationError as error:
        fields = sorted({".".join(map(str, each["loc"])) for each in error.errors(include_input=False)})
    else:
        return found
    raise CliError(
        ExitCode.FAILED,
        f"the answer is not what this version of sds expects ({', '.join(fields)})",
        advice="Use the same version of sds for the command and the server.",
    )
