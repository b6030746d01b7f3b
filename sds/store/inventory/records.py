"""The values that the inventory takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from attestation.spiffe_id import SpiffeId
from sds.store.records import CertificateRecord, Part


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


class CertificateState(StrEnum):
    """`INTENDED`: the decision is durable, that it was signed is not. `EXPIRED` wins over `REVOKED`."""

    INTENDED = "intended"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class CertificateOrder(StrEnum):
    """By the moment of the decision to issue, or by the expiry; a minus turns it round."""

    NEWEST = "-issued"
    OLDEST = "issued"
    EXPIRES_FIRST = "expires"
    EXPIRES_LAST = "-expires"


@dataclass(frozen=True, slots=True)
class CertificateQuery:
    """Filters are and-ed. `below`: the SPIFFE ID or, by whole segments, anything under it. `owner`, `labels`: of the
    entry, also of one that is gone. `key_hash`: hex SHA-256 of the SPKI. `after` is a time that is included, `before`
    one that is not. `scopes`: parts of the trust domain, or-ed; empty is everything.
    """

    serial: str | None = None
    spiffe_id: SpiffeId | None = None
    below: SpiffeId | None = None
    key_hash: str | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=_no_labels)
    entry_id: str | None = None
    agent_id: SpiffeId | None = None
    authority_id: str | None = None
    profile: str | None = None
    state: CertificateState | None = None
    expires_after: datetime | None = None
    expires_before: datetime | None = None
    issued_after: datetime | None = None
    issued_before: datetime | None = None
    order: CertificateOrder = CertificateOrder.NEWEST
    limit: int = 100
    cursor: str | None = None
    scopes: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """One certificate. `owner` and `labels` are its entry's; empty where it has none or is forgotten.

    `record.der` is there only where one certificate was asked for.
    """

    record: CertificateRecord
    state: CertificateState
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=_no_labels)
    revoked_at: datetime | None = None
    revoked_reason: str = ""
    block_id: str = ""


@dataclass(frozen=True, slots=True)
class PastEntry:
    """What is kept of an entry that was deleted."""

    id: str
    spiffe_id: SpiffeId
    owner: str
    labels: Mapping[str, str]
    deleted_at: datetime
