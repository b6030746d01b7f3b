"""The inventory: what was issued, to whom, who holds it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sds.admin.services.common import AdminCall, Page
from sds.admin.services.streams import StreamInfo
from sds.store.inventory.records import CertificateInfo, CertificateOrder, CertificateQuery, CertificateState

__all__ = [
    "CertificateAdmin",
    "CertificateDetail",
    "CertificateInfo",
    "CertificateOrder",
    "CertificateQuery",
    "CertificateState",
    "FoundCertificates",
    "UnknownCertificate",
]

MAX_PASTED = 100
"""Certificates that one text may hold."""
MAX_HOLDERS = 100
"""Streams that the detail of a certificate lists; `holders_total` counts all."""


@dataclass(frozen=True, slots=True)
class CertificateDetail:
    """With its chain up to the root (PEM, leaf first; "" before it was signed) and the streams that hold it now."""

    info: CertificateInfo
    chain_pem: str
    holders: tuple[StreamInfo, ...]
    holders_total: int


@dataclass(frozen=True, slots=True)
class UnknownCertificate:
    """A certificate that was pasted and of which nothing stands here. `number` counts from 1."""

    number: int
    serial: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class FoundCertificates:
    """Newest first, the first `limit` of them; and what was pasted in vain."""

    items: tuple[CertificateInfo, ...]
    unknown: tuple[UnknownCertificate, ...]


class CertificateAdmin(Protocol):
    """Reading needs `call`, because rights may be limited to a part of the inventory."""

    async def find(self, call: AdminCall, query: CertificateQuery) -> Page[CertificateInfo]:
        """`query.scopes` is not looked at: the caller's rights are. Raises InvalidCursor."""
        ...

    async def get(self, call: AdminCall, serial: str) -> CertificateDetail:
        """Raises NotFound."""
        ...

    async def find_pem(self, call: AdminCall, pem: str) -> FoundCertificates:
        """What stands here of the certificates that were pasted: by serial and issuer, and all of the same keys.

        Raises InvalidInput for what is no certificate; never repeats it.
        """
        ...
