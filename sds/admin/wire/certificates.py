"""The inventory of certificates as JSON, and as rows of an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sds.admin.services.certificates import (
    CertificateDetail,
    CertificateInfo,
    FoundCertificates,
)
from sds.admin.wire.common import Input, Output, TimeOut
from sds.admin.wire.views import ProcessOut, StreamOut, stream_out

MAX_PEM = 512 * 1024
"""Bytes of a text that is pasted."""


class PemIn(Input):
    """Certificates as they were found somewhere; what stands around them does no harm."""

    pem: str


class CertificateOut(Output):
    """`owner` and `labels`: of its entry. `issued_at` is null until it is recorded that it was signed."""

    serial: str
    spiffe_id: str
    state: str
    profile: str
    key_hash: str
    authority_id: str
    not_before: TimeOut
    not_after: TimeOut
    requested_at: TimeOut
    issued_at: TimeOut | None
    entry_id: str
    entry_revision: int
    agent_id: str | None
    process: ProcessOut
    dns_names: list[str]
    owner: str
    labels: dict[str, str]
    revoked_at: TimeOut | None
    revoked_reason: str
    block_id: str


class CertificatePage(Output):
    certificates: list[CertificateOut]
    next_cursor: str | None


class CertificateDetailOut(CertificateOut):
    """`chain_pem`: leaf first, up to the root. `holders`: at most 100 of the streams that have it."""

    chain_pem: str
    holders: list[StreamOut]
    holders_total: int


class UnknownOut(Output):
    """`number`: which of the certificates in the text, from 1."""

    number: int
    serial: str
    key_hash: str


class FoundOut(Output):
    """`unknown`: certificates in the text of which nothing stands here."""

    certificates: list[CertificateOut]
    unknown: list[UnknownOut]
    next_cursor: str | None


def certificate_out(info: CertificateInfo) -> CertificateOut:
    return CertificateOut(**_fields(info))


def detail_out(detail: CertificateDetail) -> CertificateDetailOut:
    return CertificateDetailOut(
        **_fields(detail.info),
        chain_pem=detail.chain_pem,
        holders=[stream_out(each) for each in detail.holders],
        holders_total=detail.holders_total,
    )


def found_out(found: FoundCertificates) -> FoundOut:
    return FoundOut(
        certificates=[certificate_out(each) for each in found.items],
        unknown=[UnknownOut(number=each.number, serial=each.serial, key_hash=each.key_hash) for each in found.unknown],
        next_cursor=None,
    )


def _fields(info: CertificateInfo) -> dict[str, Any]:
    record = info.record
    process = record.process
    return {
        "serial": record.serial,
        "spiffe_id": str(record.spiffe_id),
        "state": info.state.value,
        "profile": record.profile,
        "key_hash": record.key_hash,
        "authority_id": record.authority_id,
        "not_before": record.not_before,
        "not_after": record.not_after,
        "requested_at": record.requested_at,
        "issued_at": record.issued_at,
        "entry_id": record.entry_id,
        "entry_revision": record.entry_revision,
        "agent_id": None if record.agent_id is None else str(record.agent_id),
        "process": ProcessOut(pid=process.pid, uid=process.uid, path=process.path),
        "dns_names": list(record.dns_names),
        "owner": info.owner,
        "labels": dict(info.labels),
        "revoked_at": info.revoked_at,
        "revoked_reason": info.revoked_reason,
        "block_id": info.block_id,
    }


COLUMNS = (
    "serial", "spiffe_id", "state", "profile", "key_hash", "authority_id", "not_before", "not_after", "requested_at",
    "issued_at", "entry_id", "entry_revision", "agent_id", "pid", "uid", "path", "dns_names", "owner", "labels",
    "revoked_at", "revoked_reason", "block_id",
)  # fmt: skip


def row(info: CertificateInfo) -> Sequence[object]:
    """In the order of COLUMNS."""
    record = info.record
    process = record.process
    return (
        record.serial, str(record.spiffe_id), info.state.value, record.profile, record.key_hash, record.authority_id,
        record.not_before, record.not_after, record.requested_at, record.issued_at, record.entry_id,
        record.entry_revision, None if record.agent_id is None else str(record.agent_id), process.pid, process.uid,
        process.path, record.dns_names, info.owner, info.labels, info.revoked_at, info.revoked_reason, info.block_id,
    )  # fmt: skip
