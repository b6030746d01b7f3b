"""What these repositories take and return. A role is a text here: what it means is the admin API's to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from attestation.spiffe_id import SpiffeId


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RightRecord:
    """A role, at or below a SPIFFE ID and with labels; without either it holds for everything."""

    role: str
    below: SpiffeId | None = None
    labels: Mapping[str, str] = field(default_factory=_no_labels)


@dataclass(frozen=True, slots=True)
class BindingRecord:
    """A right given to a subject: ``uid:0``, a SPIFFE ID, ``oidc:ISSUER#SUBJECT`` or ``group:NAME``."""

    id: str
    subject: str
    right: RightRecord
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiTokenRecord:
    """An API token by its hash (hex SHA-256); the token itself is never here. `created_by` is who answers for it."""

    id: str
    hash: str = field(repr=False)
    name: str
    right: RightRecord
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    bootstrap: bool = False

    def live(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A login by the hash of its cookie. `caller` is JSON."""

    hash: str = field(repr=False)
    caller_id: str
    caller: str
    csrf: str = field(repr=False)
    created_at: datetime
    used_at: datetime
    expires_at: datetime


class ApprovalState(StrEnum):
    """`APPROVED` is a request that is being done; it ends `PERFORMED` or `FAILED`, and is never done again."""

    PENDING = "pending"
    APPROVED = "approved"
    PERFORMED = "performed"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """A request that waits for somebody else. `request` is all of it in canonical form, `digest` its hex SHA-256."""

    id: str
    action: str
    target: str
    request: bytes = field(repr=False)
    digest: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    state: ApprovalState = ApprovalState.PENDING
    decided_by: str = ""
    decided_at: datetime | None = None
    reason: str = ""
