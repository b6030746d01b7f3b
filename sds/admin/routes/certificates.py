"""/v1/certificates: what was issued, to whom, and who holds it now."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.spiffe_id import SpiffeId
from ca.serial import parse_serial, serial_hex
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.routes import common, exports
from sds.admin.routes.common import Call, NoQuery, Paging
from sds.admin.services import AdminCall, Page
from sds.admin.services.certificates import (
    CertificateAdmin,
    CertificateInfo,
    CertificateOrder,
    CertificateQuery,
    CertificateState,
)
from sds.admin.wire import certificates as wire
from sds.admin.wire.common import MAX_TEXT, Input, TimeField, read
from sds.store.errors import NotFound

_KEY_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_AUTHORITY = re.compile(r"[0-9a-f]{1,128}", re.ASCII)
_ROOM = 64 * 1024
"""Bytes of a pasted text's body beside the text: quotes, and line ends written as two characters."""
_TABLE = exports.Table("certificates", wire.COLUMNS, wire.row)


class Chosen(Input):
    """Which certificates."""

    serial: Annotated[str | None, Query(max_length=128)] = None
    spiffe_id: str | None = None
    below: str | None = None
    key_hash: Annotated[str | None, Query(max_length=128)] = None
    owner: Annotated[str | None, Query(max_length=MAX_TEXT)] = None
    label: Annotated[list[str] | None, Query(max_length=64)] = None  # each key=value
    entry_id: Annotated[str | None, Query(max_length=64)] = None
    agent_id: str | None = None
    authority_id: Annotated[str | None, Query(max_length=128)] = None
    profile: Annotated[str | None, Query(max_length=64)] = None
    state: Literal["intended", "active", "expired", "revoked"] | None = None
    expires_after: TimeField | None = None
    expires_before: TimeField | None = None
    issued_after: TimeField | None = None
    issued_before: TimeField | None = None
    sort: Literal["-issued", "issued", "expires", "-expires"] = "-issued"

    def chosen(self) -> CertificateQuery:
        """Raises InvalidInput, InvalidSpiffeId."""
        return CertificateQuery(
            serial=None if self.serial is None else _serial(self.serial),
            spiffe_id=_spiffe_id(self.spiffe_id),
            below=_spiffe_id(self.below),
            key_hash=None if self.key_hash is None else _hex("key_hash", _KEY_HASH, self.key_hash),
            owner=self.owner,
            labels=common.labels(self.label),
            entry_id=self.entry_id,
            agent_id=_spiffe_id(self.agent_id),
            authority_id=None if self.authority_id is None else _hex("authority_id", _AUTHORITY, self.authority_id),
            profile=self.profile,
            state=None if self.state is None else CertificateState(self.state),
            expires_after=self.expires_after,
            expires_before=self.expires_before,
            issued_after=self.issued_after,
            issued_before=self.issued_before,
            order=CertificateOrder(self.sort),
        )


class Filter(Chosen, Paging):
    def query(self) -> CertificateQuery:
        return replace(self.chosen(), limit=self.limit, cursor=self.cursor)


class Exported(Chosen, exports.Format):
    pass


class CertificateRoutes:
    def __init__(self, certificates: CertificateAdmin) -> None:
        self._certificates = certificates

    def mount(self, app: FastAPI) -> None:
        many = "/v1/certificates"
        find = common.documented(wire.PemIn)
        app.get(many, operation_id="certificate.list")(self.find)
        app.get(
            f"{many}:export",
            operation_id="certificate.export",
            response_class=Response,
            openapi_extra=exports.DOCUMENTED,
        )(self.export)
        app.post(f"{many}:find", operation_id="certificate.find", openapi_extra=find)(self.find_pem)
        app.get(f"{many}/{{serial}}", operation_id="certificate.show")(self.get)

    async def find(self, call: Call, query: Annotated[Filter, Query()]) -> wire.CertificatePage:
        """The inventory, with every certificate that was ever meant to be signed."""
        page = await self._certificates.find(call, query.query())
        return wire.CertificatePage(
            certificates=[wire.certificate_out(each) for each in page.items], next_cursor=page.next_cursor
        )

    async def export(self, call: Call, query: Annotated[Exported, Query()]) -> Response:
        """The whole listing as a file."""
        return await exports.export(_TABLE, query.format, self._pages(call, query.chosen()))

    def _pages(self, call: AdminCall, chosen: CertificateQuery) -> exports.Fetch[CertificateInfo]:
        async def fetch(cursor: str | None, limit: int) -> Page[CertificateInfo]:
            return await self._certificates.find(call, replace(chosen, limit=limit, cursor=cursor))

        return fetch

    async def get(self, call: Call, serial: str, _query: Annotated[NoQuery, Query()]) -> wire.CertificateDetailOut:
        """One certificate with its chain, and who holds it now. The serial is hex, with or without colons."""
        try:
            known = serial_hex(parse_serial(serial))
        except ValueError:
            raise NotFound("certificate", "this is no serial number") from None
        return wire.detail_out(await self._certificates.get(call, known))

    async def find_pem(self, request: Request, call: Call, _query: Annotated[NoQuery, Query()]) -> wire.FoundOut:
        """What stands here of the certificates in a text: by serial and issuer, and all others of the same keys."""
        body = await common.bounded_body(request, wire.MAX_PEM + _ROOM)
        return wire.found_out(await self._certificates.find_pem(call, read(wire.PemIn, body).pem))


def _spiffe_id(text: str | None) -> SpiffeId | None:
    return None if text is None else SpiffeId.parse(text)


def _serial(text: str) -> str:
    try:
        return serial_hex(parse_serial(text))
    except ValueError:
        problem = "is no serial number: hex digits, colons may stand between them"
        raise InvalidInput([FieldProblem("serial", problem)]) from None


def _hex(field: str, form: re.Pattern[str], text: str) -> str:
    plain = text.replace(":", "").lower()
    if not form.fullmatch(plain):
        raise InvalidInput([FieldProblem(field, "must be hex digits")])
    return plain
