"""What is looked at: everything that notices are made of, as it stands at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class EntryFact:
    """A registration entry and its newest certificate, if it ever had one. `holders`: streams that have it now.

    `used_at`: when it last got a certificate or a token, or None.
    """

    id: str
    spiffe_id: str
    owner: str
    created_at: datetime
    not_before: datetime | None = None
    not_after: datetime | None = None
    used_at: datetime | None = None
    holders: int = 0
    ends_at: datetime | None = None  # when the entry itself ends


@dataclass(frozen=True, slots=True)
class AuthorityFact:
    """The authority that signs now, of each kind."""

    id: str
    kind: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class SecretFact:
    """A named secret as it stands at its source. `rotate_every`: the age at which a value is too old, or None.

    `renewed`: whoever makes its values makes new ones by themselves, so that only a failure is news.
    """

    name: str
    owner: str
    created_at: datetime
    changed_at: datetime | None = None
    not_after: datetime | None = None
    rotate_every: timedelta | None = None
    renewed: bool = False
    problem: str = ""
    problem_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class GrantFact:
    """A grant. `owner` is the secret's; `used_at`: when a value was last delivered by it, or None."""

    id: str
    secret: str
    subject: str
    owner: str
    created_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AgentFact:
    """An agent that is not banned. `heard_at`: when it last said something."""

    spiffe_id: str
    heard_at: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class SidecarFact:
    """A stream that is not where it should be. `behind`: resources sent and not acknowledged since `behind_since`.

    `rejected`: resources whose last version was NACKed, with the sidecar's words in `detail`.
    """

    agent_id: str
    stream_id: str
    workload: str
    owner: str
    behind: tuple[str, ...] = ()
    behind_since: datetime | None = None
    rejected: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TokenFact:
    """An API token that may still be used."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it."""

    entries: tuple[EntryFact, ...] = ()
    authorities: tuple[AuthorityFact, ...] = ()
    secrets: tuple[SecretFact, ...] = ()
    grants: tuple[GrantFact, ...] = ()
    agents: tuple[AgentFact, ...] = ()
    sidecars: tuple[SidecarFact, ...] = ()
    tokens: tuple[TokenFact, ...] = ()
