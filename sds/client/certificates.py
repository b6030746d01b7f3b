"""The inventory: what was issued, to whom, and who holds it now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from sds.client.nouns import ExportFormat, Noun, operation
from sds.client.results import Labels, Many, Result, Time
from sds.client.streams import Process, Stream
from sds.client.transport.connection import part

_PATH = "/v1/certificates"
State = Literal["intended", "active", "expired", "revoked"]
Order = Literal["-issued", "issued", "expires", "-expires"]


class Certificate(Result):
    """`owner` and `labels` are its entry's. `issued_at` is None until it is recorded that it was signed."""

    serial: str
    spiffe_id: str
    state: str
    profile: str
    key_hash: str
    authority_id: str
    not_before: Time
    not_after: Time
    requested_at: Time
    issued_at: Time | None
    entry_id: str
    entry_revision: int
    agent_id: str | None
    process: Process
    dns_names: Many[str]
    owner: str
    labels: Labels
    revoked_at: Time | None
    revoked_reason: str
    block_id: str


class CertificateDetail(Certificate):
    """`chain_pem`: leaf first, up to the root. The list of holders is cut, their number is not."""

    chain_pem: str
    holders: Many[Stream]
    holders_total: int


class Unknown(Result):
    """A certificate of a text of which nothing stands here; `number` counts them from 1."""

    number: int
    serial: str
    key_hash: str


class Found(Result):
    certificates: Many[Certificate]
    unknown: Many[Unknown]


@dataclass(frozen=True, slots=True)
class CertificateFilter:
    """All must hold. `below`: the SPIFFE ID or, by whole segments, anything under it. `key_hash`: hex SHA-256 of the
    SubjectPublicKeyInfo. `owner` and `label`: of the entry. Times are aware.
    """

    serial: str | None = None
    spiffe_id: str | None = None
    below: str | None = None
    key_hash: str | None = None
    owner: str | None = None
    label: dict[str, str] = field(default_factory=dict)
    entry_id: str | None = None
    agent_id: str | None = None
    authority_id: str | None = None
    profile: str | None = None
    state: State | None = None
    expires_after: datetime | None = None
    expires_before: datetime | None = None
    issued_after: datetime | None = None
    issued_before: datetime | None = None
    sort: Order = "-issued"

    def query(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


class Certificates(Noun):
    @operation("certificate.list")
    def list(self, wanted: CertificateFilter | None = None, *, limit: int | None = None) -> Iterator[Certificate]:
        query = (wanted or CertificateFilter()).query()
        return self._pages(Certificate, _PATH, "certificates", query, limit=limit)

    @operation("certificate.show")
    def get(self, serial: str) -> CertificateDetail:
        """`serial`: hex, with or without colons."""
        return self._get(CertificateDetail, f"{_PATH}/{part(serial)}")

    @operation("certificate.find")
    def find(self, pem: str) -> Found:
        """What stands here of the certificates in a text: by serial and issuer, and all others of the same keys."""
        return self._post(Found, f"{_PATH}:find", {"pem": pem}, keyed=False)

    @operation("certificate.export")
    def export(self, export_format: ExportFormat = "jsonl", wanted: CertificateFilter | None = None) -> Iterator[bytes]:
        """The whole listing, line by line as it comes."""
        query = {**(wanted or CertificateFilter()).query(), "format": export_format}
        return self._calls.lines(f"{_PATH}:export", query)
