"""What happened, who did it, to what, and how it ended. One event is one immutable line of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

Json: TypeAlias = "str | int | bool | list[Json] | tuple[Json, ...] | Mapping[str, Json] | None"
"""What an event's details may hold. No floats: their text differs between implementations of JSON."""


class Outcome(StrEnum):
    """How it ended. `REFUSED`: we decided against it; `FAILURE`: we wanted to and could not."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILURE = "failure"


class ActorKind(StrEnum):
    """What kind of caller acted, as attestation knows it."""

    AGENT = "agent"
    ADMIN = "admin"
    SYSTEM = "system"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted. `id` is a SPIFFE ID, ``uid:1000`` or a component's name; `address` is where the call came from."""

    kind: ActorKind
    id: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What was acted on, e.g. kind ``entry`` and its id."""

    kind: str
    id: str


def _no_details() -> Mapping[str, Json]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event. It must never hold a secret: tokens, keys and secret values stay out of `reason` and `details`.

    `id` is 32 hex digits, handed in. `time` is aware UTC. `action` is ``noun.verb`` (``entry.create``,
    ``certificate.issue``, ``agent.attest``). `node` names the server process that decided.
    """

    id: str
    time: datetime
    action: str
    outcome: Outcome
    actor: Actor
    target: Target
    reason: str = ""
    request_id: str = ""
    node: str = ""
    details: Mapping[str, Json] = field(default_factory=_no_details)
