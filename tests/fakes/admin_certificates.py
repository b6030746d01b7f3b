"""The inventory of certificates in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ca.certificate_facts import InvalidPaste, read_pem
from sds.admin.access.decide import in_scopes, permitted
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, Page, StreamInfo
from sds.admin.services.certificates import (
    MAX_HOLDERS,
    MAX_PASTED,
    CertificateDetail,
    CertificateInfo,
    CertificateOrder,
    CertificateQuery,
    FoundCertificates,
    UnknownCertificate,
)
from sds.store.errors import InvalidCursor, NotFound, Reason, StoreUnavailable


class FakeCertificates:
    def __init__(self, streams: Callable[[], list[StreamInfo]]) -> None:
        self.rows: list[CertificateInfo] = []
        self.chains: dict[str, str] = {}
        self.fail_after: int | None = None  # so many pages more
        self._streams = streams

    async def find(self, call: AdminCall, query: CertificateQuery) -> Page[CertificateInfo]:
        scopes = permitted(call, "certificate.list")
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise StoreUnavailable(Reason.LOST)
        found = [each for each in self.rows if _matches(each, query)]
        found = [each for each in found if in_scopes(scopes, each.record.spiffe_id, each.labels)]
        found.sort(key=lambda each: _moment(each, query.order), reverse=query.order.value.startswith("-"))
        if query.cursor is not None and not query.cursor.isdigit():
            raise InvalidCursor
        start = int(query.cursor or 0)
        end = start + query.limit
        return Page(tuple(found[start:end]), str(end) if end < len(found) else None)

    async def get(self, call: AdminCall, serial: str) -> CertificateDetail:
        scopes = permitted(call, "certificate.show")
        for each in self.rows:
            if each.record.serial == serial and in_scopes(scopes, each.record.spiffe_id, each.labels):
                holders = [
                    stream
                    for stream in self._streams()
                    if any(serial in {one.sent_serial, one.acked_serial} for one in stream.resources)
                ]
                return CertificateDetail(each, self.chains.get(serial, ""), tuple(holders[:MAX_HOLDERS]), len(holders))
        raise NotFound("certificate", serial)

    async def find_pem(self, call: AdminCall, pem: str) -> FoundCertificates:
        scopes = permitted(call, "certificate.find")
        try:
            pasted = read_pem(pem, MAX_PASTED)
        except InvalidPaste as error:
            raise InvalidInput([FieldProblem("pem", str(error))]) from None
        hit = {(each.serial, each.issuer_key_id) for each in pasted}
        keys = {each.key_hash for each in pasted}
        found = tuple(
            each
            for each in reversed(self.rows)
            if ((each.record.serial, each.record.authority_id) in hit or each.record.key_hash in keys)
            and in_scopes(scopes, each.record.spiffe_id, each.labels)
        )
        known = {(each.record.serial, each.record.authority_id) for each in found}
        known_keys = {each.record.key_hash for each in found}
        unknown = tuple(
            UnknownCertificate(number, each.serial, each.key_hash)
            for number, each in enumerate(pasted, start=1)
            if (each.serial, each.issuer_key_id) not in known and each.key_hash not in known_keys
        )
        return FoundCertificates(found, unknown)


def _moment(info: CertificateInfo, order: CertificateOrder) -> datetime:
    by_expiry = order in (CertificateOrder.EXPIRES_FIRST, CertificateOrder.EXPIRES_LAST)
    return info.record.not_after if by_expiry else info.record.requested_at


def _matches(info: CertificateInfo, query: CertificateQuery) -> bool:
    record = info.record
    return (
        query.serial in (None, record.serial)
        and query.spiffe_id in (None, record.spiffe_id)
        and (query.below is None or record.spiffe_id.below(query.below.path))
        and query.key_hash in (None, record.key_hash)
        and query.owner in (None, info.owner)
        and query.labels.items() <= info.labels.items()
        and query.entry_id in (None, record.entry_id)
        and query.agent_id in (None, record.agent_id)
        and query.authority_id in (None, record.authority_id)
        and query.profile in (None, record.profile)
        and query.state in (None, info.state)
        and (query.expires_after is None or record.not_after >= query.expires_after)
        and (query.expires_before is None or record.not_after < query.expires_before)
        and (query.issued_after is None or record.requested_at >= query.issued_after)
        and (query.issued_before is None or record.requested_at < query.issued_before)
    )
