"""The values that these repositories take and return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from attestation.spiffe_id import SpiffeId
from ca.revocation import Reason


class BlockKind(StrEnum):
    """What a block is about, and so what its value is: a serial or key hash in hex, a SPIFFE ID, an entry's or an
    authority's ID.
    """

    SERIAL = "serial"
    SPIFFE_ID = "spiffe_id"
    KEY = "key"
    ENTRY = "entry"
    AGENT = "agent"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """One decision to revoke. While it is not lifted, nothing new is issued to what it names; a serial and an authority
    have nothing to be blocked from.
    """

    id: str
    kind: BlockKind
    value: str
    reason: Reason
    incident: str
    created_at: datetime
    created_by: str
    lifted_at: datetime | None = None
    lifted_by: str = ""

    @property
    def standing(self) -> bool:
        return self.lifted_at is None


@dataclass(frozen=True, slots=True)
class RevocationRecord:
    """One certificate that is revoked, until it expires. `block_id` is the decision behind it."""

    serial: str  # hex
    authority_id: str
    not_after: datetime
    reason: Reason
    revoked_at: datetime
    block_id: str


@dataclass(frozen=True, slots=True)
class Concerned:
    """An unexpired certificate, or the intent of one, that a block is about."""

    serial: str
    spiffe_id: SpiffeId
    profile: str
    authority_id: str
    not_after: datetime
    entry_id: str
    agent_id: SpiffeId | None


@dataclass(frozen=True, slots=True)
class Missed:
    """A certificate that ought to be revoked, and the decision behind that."""

    certificate: Concerned
    block_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class CrlRecord:
    """An authority's newest list. `digest` is of what it says; "" asks for a new one."""

    authority_id: str
    number: int
    der: bytes = field(repr=False)
    digest: str
    this_update: datetime
    next_update: datetime
