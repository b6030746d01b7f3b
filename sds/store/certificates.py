"""Every certificate that was meant to be signed, and the ones that were. The hot path of issuance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, LargeBinary, Row, bindparam, delete, func, select

from attestation.spiffe_id import SpiffeId
from sds.store.codec import again_spiffe_id, again_texts, make_cursor, read_cursor, to_json
from sds.store.errors import NotFound
from sds.store.records import CertificateFilter, CertificateRecord, Expiry, Page, ProcessRecord
from sds.store.tables import Name, certificates, issued_certificates, storable
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Bulk, Tx

_INSERT = Bulk(certificates.insert(), [column.name for column in certificates.c if column.name != "number"])
_INSERT_DER = Bulk(
    issued_certificates.insert().from_select(
        ["number", "der", "issued_at"],
        select(
            certificates.c.number, bindparam("new_der", type_=LargeBinary), bindparam("moment", type_=BigInteger)
        ).where(certificates.c.serial == bindparam("of_serial", type_=Name)),
        include_defaults=False,
    ),
    ["new_der", "moment", "of_serial"],
)
_JOINED = select(certificates, issued_certificates.c.der, issued_certificates.c.issued_at).outerjoin_from(
    certificates, issued_certificates
)
_NO_FILTER = CertificateFilter()


class Certificates:
    """Intents need an audit event in the same unit of work. That one was signed is recorded without another."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def add_intents(self, batch: Sequence[CertificateRecord]) -> None:
        """Record what is about to be signed. `der` and `issued_at` are not looked at."""
        self._tx.change_many(certificates, _INSERT, [_values(record) for record in batch])

    def mark_issued(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Record what was signed: (serial, DER) each. Raises NotFound if one of them was never intended."""
        moment = to_micros(self._tx.now)
        done = self._tx.note_many(_INSERT_DER, [(der, moment, serial) for serial, der in batch])
        if done != len(batch):
            for serial, _ in batch:
                self.get(serial)

    def get(self, serial: str) -> CertificateRecord:
        """Raises NotFound."""
        row = self._tx.first(_JOINED.where(certificates.c.serial == serial))
        if row is None:
            raise NotFound("certificate", serial)
        return _whole(row)

    def search(
        self, filters: CertificateFilter = _NO_FILTER, *, cursor: str | None = None, limit: int = 100
    ) -> Page[CertificateRecord]:
        """Newest first. Raises InvalidCursor."""
        statement = _JOINED.where(*_conditions(filters)).order_by(certificates.c.number.desc()).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(certificates.c.number < read_cursor(cursor, int)[0])
        rows = self._tx.rows(statement)
        found = tuple(map(_whole, rows[:limit]))
        return Page(found, make_cursor(rows[limit - 1].number) if len(rows) > limit else None)

    def latest_not_after(
        self, *, entry_id: str | None = None, spiffe_id: SpiffeId | None = None, authority_id: str | None = None
    ) -> datetime | None:
        """When the last certificate of the entry, SPIFFE ID or authority expires; None if there never was one.

        Intents count: a certificate may exist although the server died before it could record that.
        """
        filters = CertificateFilter(entry_id=entry_id, spiffe_id=spiffe_id, authority_id=authority_id)
        return from_micros_or_none(
            self._tx.scalar(select(func.max(certificates.c.not_after)).where(*_conditions(filters)))
        )

    def expiry(self, now: datetime, profile: str | None = None) -> Expiry:
        """What is unexpired, and the first expiry if nothing were renewed from now on. Intents count."""
        newest = (
            select(func.max(certificates.c.not_after).label("not_after"), func.count().label("live"))
            .where(*_conditions(CertificateFilter(live_at=now, profile=profile)))
            .group_by(certificates.c.spiffe_id)
            .subquery()
        )
        row = self._tx.first(
            select(
                func.sum(newest.c.live).label("live"),
                func.count().label("identities"),
                func.min(newest.c.not_after).label("first"),
            ).select_from(newest)
        )
        if row is None or not row.identities:
            return Expiry(0, 0, None)
        return Expiry(int(row.live), row.identities, from_micros(row.first))

    def purge(self, expired_before: datetime, limit: int = 10_000) -> int:
        """Forget at most `limit` certificates that expired before then; returns how many. The audit log stays."""
        old = select(certificates.c.number).where(certificates.c.not_after < to_micros(expired_before)).limit(limit)
        return self._tx.note(delete(certificates).where(certificates.c.number.in_(old))).rowcount


def _values(record: CertificateRecord) -> tuple[object, ...]:
    """In the order of the table's columns."""
    process = record.process
    return (
        record.serial,
        str(record.spiffe_id),
        record.key_hash,
        record.entry_id,
        record.entry_revision,
        "" if record.agent_id is None else str(record.agent_id),
        process.pid,
        process.uid,
        storable(process.path),
        record.profile,
        record.authority_id,
        to_json(record.dns_names) if record.dns_names else "[]",
        to_micros(record.not_before),
        to_micros(record.not_after),
        to_micros(record.requested_at),
    )


def _conditions(filters: CertificateFilter) -> list[ColumnElement[bool]]:
    columns = certificates.c
    equal = (
        (columns.serial, filters.serial),
        (columns.spiffe_id, filters.spiffe_id),
        (columns.entry_id, filters.entry_id),
        (columns.agent_id, filters.agent_id),
        (columns.key_hash, filters.key_hash),
        (columns.authority_id, filters.authority_id),
        (columns.profile, filters.profile),
    )
    found = [column == str(value) for column, value in equal if value is not None]
    if filters.live_at is not None:
        found.append(columns.not_after >= to_micros(filters.live_at))
    if filters.expires_before is not None:
        found.append(columns.not_after < to_micros(filters.expires_before))
    return found


def _whole(row: Row[Any]) -> CertificateRecord:
    return from_row(row, row.der)


def from_row(row: Row[Any], der: bytes | None = None) -> CertificateRecord:
    """A row of both tables; whoever lists many leaves the DER away."""
    return CertificateRecord(
        serial=row.serial,
        spiffe_id=again_spiffe_id(row.spiffe_id),
        key_hash=row.key_hash,
        profile=row.profile,
        authority_id=row.authority_id,
        not_before=from_micros(row.not_before),
        not_after=from_micros(row.not_after),
        requested_at=from_micros(row.requested_at),
        entry_id=row.entry_id,
        entry_revision=row.entry_revision,
        agent_id=again_spiffe_id(row.agent_id) if row.agent_id else None,
        process=ProcessRecord(row.pid, row.uid, row.path),
        dns_names=again_texts(row.dns_names),
        der=der,
        issued_at=from_micros_or_none(row.issued_at),
    )
