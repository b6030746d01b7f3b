"""Taking back what was issued."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.revocation import Reason
from sds.admin.services.common import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.store.records import StreamRecord
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord

MAX_LISTED = 100
"""Things of one kind that a blast radius lists; it always has their number."""


@dataclass(frozen=True, slots=True)
class RevocationOrder:
    """What to take back. `issuer` is an authority's ID, needed for a serial that this database has no record of."""

    kind: BlockKind
    value: str
    reason: Reason = Reason.UNSPECIFIED
    incident: str = ""
    issuer: str = ""
    dry_run: bool = True


class OutOfReach(StrEnum):
    """Why a sidecar goes on accepting what a CRL revokes."""

    SPIFFE_VALIDATOR = "spiffe-validator"
    """Envoy's SPIFFE validator (`ALL`) looks at no CRL."""
    MOSN = "mosn"
    """MOSN reads no CRL."""
    OTHER_SERVERS = "other-servers"
    """Other servers issue below the same roots, so there are no CRLs of all issuers, and thus none at all."""
    WORKLOAD_API = "workload-api"
    """It gets the CRLs; whether the library looks at them is its own affair."""


@dataclass(frozen=True, slots=True)
class LostCertificate:
    """One certificate that is concerned. `revoked`: it was so before."""

    serial: str
    spiffe_id: SpiffeId
    profile: str
    authority_id: str
    not_after: datetime
    agent_id: SpiffeId | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class Unreached:
    """A sidecar that trusts this trust domain and that a CRL cannot reach."""

    stream: StreamRecord
    why: OutOfReach


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """What a revocation hits. Tuples hold at most MAX_LISTED; the numbers beside them count all.

    `certificates` are unexpired ones, or intents of such; `fresh` of them were not revoked before. `streams` hold one
    of them now. `unreached` streams go on accepting them. `notes` are sentences for people.
    """

    certificates: int = 0
    fresh: int = 0
    listed: tuple[LostCertificate, ...] = ()
    identities: tuple[str, ...] = ()
    identities_total: int = 0
    entries: tuple[str, ...] = ()
    entries_total: int = 0
    agents: tuple[str, ...] = ()
    agents_total: int = 0
    owners: tuple[str, ...] = ()
    streams: tuple[StreamRecord, ...] = ()
    streams_total: int = 0
    unreached: tuple[Unreached, ...] = ()
    unreached_total: int = 0
    last_expiry: datetime | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocation:
    """`block` is None after a dry run. `problem` says why the lists do not say it yet; "" if they do."""

    order: RevocationOrder
    radius: BlastRadius
    block: BlockRecord | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Lifted:
    """`released`: its certificates were only held, and are good again. `problem` is as in Revocation."""

    block: BlockRecord
    released: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class BlockQuery:
    kind: BlockKind | None = None
    standing: bool | None = None
    order: str = "-created"  # or created
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RevocationQuery:
    block_id: str | None = None
    authority_id: str | None = None
    reason: Reason | None = None
    order: str = "-revoked"  # or revoked
    limit: int = 100
    cursor: str | None = None


class RevocationAdmin(Protocol):
    """Raises InvalidInput for what makes no sense, and NotFound for what was never issued or does not exist."""

    async def revoke(self, call: AdminCall, order: RevocationOrder) -> Revocation:
        """A dry run changes nothing. Else nothing of it is issued again, every CRL that changes is made anew and told,
        and agents concerned are cut off. Idempotent. Raises RotationRefused for an authority that cannot go.
        """
        ...

    async def lift(self, call: AdminCall, block_id: str, condition: Condition = ANY) -> Lifted:
        """Issue to it again. What was revoked for good stays so. Idempotent. Raises InvalidInput for a certificate that
        was revoked for good, and for an authority; Conflict if the condition fails.
        """
        ...

    async def blocks(self, query: BlockQuery) -> Page[BlockRecord]:
        """Newest first."""
        ...

    async def block(self, block_id: str) -> BlockRecord: ...

    async def revocations(self, query: RevocationQuery) -> Page[RevocationRecord]:
        """Newest first."""
        ...
