"""The inventory: what was issued, to whom, who holds it now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.admin.services.common import AdminCall, Page
from sds.admin.services.streams import StreamInfo
from sds.store.records import CertificateRecord


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


class CertificateState(StrEnum):
    """`INTENDED`: the decision is durable, that it was signed is not. `EXPIRED` wins over `REVOKED`."""

    INTENDED = "intended"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class CertificateOrder(StrEnum):
    NEWEST = "-issued"
    OLDEST = "issued"
    EXPIRES_FIRST = "expires"
    EXPIRES_LAST = "-expires"


@dataclass(frozen=True, slots=True)
class CertificateQuery:
    """Filters are and-ed. `below`: the SPIFFE ID or, by whole segments, anything under it. `owner`, `labels`: of the
    entry, also of one that is gone. `key_hash`: hex SHA-256 of the SPKI.
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


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """One certificate. `owner` and `labels` are its entry's; empty where it has none or is forgotten."""

    record: CertificateRecord
    state: CertificateState
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=_no_labels)
    revoked_at: datetime | None = None
    revoked_reason: str = ""
    block_id: str = ""


@dataclass(frozen=True, slots=True)
class CertificateDetail:
    """With its chain up to the root (PEM, leaf first; "" before it was signed) and the streams that hold it now."""

    info: CertificateInfo
    chain_pem: str
    holders: tuple[StreamInfo, ...]
    holders_total: int


class CertificateAdmin(Protocol):
    """Reading needs `call`, because rights may be limited to a part of the inventory."""

    async def find(self, call: AdminCall, query: CertificateQuery) -> Page[CertificateInfo]: ...

    async def get(self, call: AdminCall, serial: str) -> CertificateDetail:
        """Raises NotFound."""
        ...

    async def find_pem(self, call: AdminCall, pem: str) -> Page[CertificateInfo]:
        """What stands here of the certificates that were pasted: by serial and issuer, else by key.

        Raises InvalidInput for what is no certificate; never repeats it.
        """
        ...


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An entry that does not match, and the selectors that it lacks."""

    entry_id: str
    spiffe_id: SpiffeId
    parent_id: SpiffeId
    missing: tuple[str, ...]
    parent_differs: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who would get what: entries that match the selectors, those that nearly do, and the secrets they would get."""

    matching: tuple[str, ...]
    near: tuple[NearMiss, ...]
    secrets: Mapping[str, tuple[str, ...]]
    """Names of secrets by the ID of the entry that would get them."""


class ExplainAdmin(Protocol):
    async def explain(self, call: AdminCall, parent_id: SpiffeId | None, selectors: tuple[str, ...]) -> Explanation:
        """Raises InvalidSelector."""
        ...
