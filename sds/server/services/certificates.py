"""The inventory of certificates, for administrators."""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.certificate_facts import CertificateFacts, InvalidPaste, read_pem
from sds.admin.access.decide import permitted
from sds.admin.access.roles import Scope
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, Page, StreamInfo
from sds.admin.services.certificates import (
    MAX_HOLDERS,
    MAX_PASTED,
    CertificateDetail,
    CertificateInfo,
    CertificateQuery,
    FoundCertificates,
    UnknownCertificate,
)
from sds.server.services.common import Desk
from sds.store.errors import NotFound
from sds.store.filters import StreamFilter
from sds.store.records import CertificateRecord
from sds.store.unit_of_work import UnitOfWork

_MAX_FOUND = 1000


class CertificateService:
    """Implements sds.admin.services.certificates.CertificateAdmin."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def find(self, call: AdminCall, query: CertificateQuery) -> Page[CertificateInfo]:
        narrowed = replace(query, scopes=permitted(call, "certificate.list"))
        found = await self._desk.store.read(lambda uow: uow.inventory.search(narrowed))
        return Page(found.items, found.next_cursor)

    async def get(self, call: AdminCall, serial: str) -> CertificateDetail:
        scopes = permitted(call, "certificate.show")

        def work(uow: UnitOfWork) -> CertificateDetail:
            info = uow.inventory.get(serial, scopes)
            holding = StreamFilter(serial=serial)
            page = uow.streams.list(holding, limit=MAX_HOLDERS)
            holders = tuple(StreamInfo.of(each, uow.now) for each in page.items)
            total = len(holders) if page.next_cursor is None else uow.streams.count(holding)
            return CertificateDetail(info, _chain(uow, info.record), holders, total)

        return await self._desk.store.read(work)

    async def find_pem(self, call: AdminCall, pem: str) -> FoundCertificates:
        scopes = permitted(call, "certificate.find")
        try:
            pasted = read_pem(pem, MAX_PASTED)
        except InvalidPaste as error:
            raise InvalidInput([FieldProblem("pem", str(error))]) from None
        return await self._desk.store.read(lambda uow: _known(uow, pasted, scopes))


def _known(uow: UnitOfWork, pasted: tuple[CertificateFacts, ...], scopes: tuple[Scope, ...]) -> FoundCertificates:
    names = [(each.serial, each.issuer_key_id) for each in pasted]
    keys = [each.key_hash for each in pasted]
    found = uow.inventory.known(names, keys, limit=_MAX_FOUND, scopes=scopes)
    known_names = {(each.record.serial, each.record.authority_id) for each in found}
    known_keys = {each.record.key_hash for each in found}
    unknown = tuple(
        UnknownCertificate(number, each.serial, each.key_hash)
        for number, each in enumerate(pasted, start=1)
        if (each.serial, each.issuer_key_id) not in known_names and each.key_hash not in known_keys
    )
    return FoundCertificates(found, unknown)


def _chain(uow: UnitOfWork, record: CertificateRecord) -> str:
    """Leaf first, up to a root; what is below an authority that is forgotten ends with the leaf."""
    if record.der is None:
        return ""
    chain = [record.der]
    try:
        authority = uow.authorities.get(record.authority_id)
    except NotFound:
        pass
    else:
        chain += [*(authority.chain or (authority.certificate,)), *authority.bundle_certificates]
    distinct = dict.fromkeys(der for der in chain if der)
    return "".join(_pem(der) for der in distinct)


def _pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode("ascii")
