"""The certificates with what is known around them: whose entry, whether revoked. For people, not for issuance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, literal, or_, select, tuple_

from sds.store.certificates import from_row
from sds.store.codec import again_labels
from sds.store.errors import NotFound
from sds.store.inventory.parts import at_or_below, of_labelled, within
from sds.store.inventory.records import CertificateInfo, CertificateQuery, CertificateState
from sds.store.paging import both_ways, page
from sds.store.records import Page, Part
from sds.store.tables import certificates, entries, issued_certificates, past_entries, revocations
from sds.store.times import from_micros_or_none, to_micros
from sds.store.tx import Tx

_C = certificates.c
_AROUND = (
    revocations.c.revoked_at,
    revocations.c.reason.label("revoked_reason"),
    revocations.c.block_id,
    func.coalesce(entries.c.owner, past_entries.c.owner, literal("")).label("owner"),
    func.coalesce(entries.c.labels, past_entries.c.labels, literal("{}")).label("labels"),
)
_JOINED = (
    certificates.outerjoin(issued_certificates, issued_certificates.c.number == _C.number)
    .outerjoin(revocations, revocations.c.serial == _C.serial)
    .outerjoin(entries, entries.c.id == _C.entry_id)
    .outerjoin(past_entries, past_entries.c.id == _C.entry_id)
)
_LISTED = select(certificates, issued_certificates.c.issued_at, *_AROUND).select_from(_JOINED)
_ONE = _LISTED.add_columns(issued_certificates.c.der)
_ORDERS = both_ways("issued", (_C.requested_at, _C.number), (int, int)) | both_ways(
    "expires", (_C.not_after, _C.number), (int, int)
)
_ISSUED, _REVOKED = issued_certificates.c.issued_at, revocations.c.revoked_at


class CertificateInventory:
    """Only reads. What it says of a certificate's state is as of this unit of work."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def search(self, query: CertificateQuery) -> Page[CertificateInfo]:
        """One page in the order asked for. Raises InvalidCursor."""
        statement, order = _LISTED.where(*_conditions(self._tx, query)), _ORDERS[query.order.value]
        rows, cursor = page(self._tx, statement, order, cursor=query.cursor, limit=query.limit)
        return Page(tuple(_info(row, self._tx.now) for row in rows), cursor)

    def get(self, serial: str, scopes: Iterable[Part] = ()) -> CertificateInfo:
        """With its DER. Raises NotFound, also for one that lies outside of `scopes`."""
        row = self._tx.first(_ONE.where(_C.serial == serial, *within(self._tx, scopes, _C.spiffe_id, _C.entry_id)))
        if row is None:
            raise NotFound("certificate", serial)
        return _info(row, self._tx.now, row.der)

    def known(
        self, names: Sequence[tuple[str, str]], keys: Sequence[str], *, limit: int, scopes: Iterable[Part] = ()
    ) -> tuple[CertificateInfo, ...]:
        """Those of these (serial, authority), and all of these keys (hex SHA-256 of the SPKI); newest first."""
        any_of: list[ColumnElement[bool]] = []
        if names:
            serials = _C.serial.in_([serial for serial, _ in names])
            any_of.append(and_(serials, tuple_(_C.serial, _C.authority_id).in_(names)))
        if keys:
            any_of.append(_C.key_hash.in_(keys))
        if not any_of:
            return ()
        statement = _LISTED.where(or_(*any_of), *within(self._tx, scopes, _C.spiffe_id, _C.entry_id))
        rows = self._tx.rows(statement.order_by(_C.requested_at.desc(), _C.number.desc()).limit(limit))
        return tuple(_info(row, self._tx.now) for row in rows)


def _conditions(tx: Tx, query: CertificateQuery) -> list[ColumnElement[bool]]:
    equal = (
        (_C.serial, query.serial),
        (_C.spiffe_id, query.spiffe_id),
        (_C.key_hash, query.key_hash),
        (_C.entry_id, query.entry_id),
        (_C.agent_id, query.agent_id),
        (_C.authority_id, query.authority_id),
        (_C.profile, query.profile),
    )
    found = [column == str(value) for column, value in equal if value is not None]
    if query.below is not None:
        found.append(at_or_below(_C.spiffe_id, query.below))
    if query.owner is not None:
        now = select(entries.c.id).where(entries.c.owner == query.owner)
        then = select(past_entries.c.id).where(past_entries.c.owner == query.owner)
        found.append(_C.entry_id.in_(now.union_all(then)))
    if query.labels:
        found.append(of_labelled(tx, _C.entry_id, query.labels))
    found += _times(query)
    if query.state is not None:
        found += _in_state(query.state, to_micros(tx.now))
    return found + within(tx, query.scopes, _C.spiffe_id, _C.entry_id)


def _times(query: CertificateQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.expires_after is not None:
        found.append(_C.not_after >= to_micros(query.expires_after))
    if query.expires_before is not None:
        found.append(_C.not_after < to_micros(query.expires_before))
    if query.issued_after is not None:
        found.append(_C.requested_at >= to_micros(query.issued_after))
    if query.issued_before is not None:
        found.append(_C.requested_at < to_micros(query.issued_before))
    return found


def _in_state(state: CertificateState, now: int) -> list[ColumnElement[bool]]:
    # Nearly all certificates are on one side of now: an index on their expiry would only cost a sort. "+ 0" has none.
    live = _C.not_after + 0 >= now
    match state:
        case CertificateState.EXPIRED:
            return [_C.not_after + 0 < now]
        case CertificateState.REVOKED:
            return [live, _C.serial.in_(select(revocations.c.serial).where(revocations.c.not_after >= now))]
        case CertificateState.ACTIVE:
            return [live, _REVOKED.is_(None), _ISSUED.is_not(None)]
        case CertificateState.INTENDED:
            return [live, _REVOKED.is_(None), _ISSUED.is_(None)]


def _info(row: Row[Any], now: datetime, der: bytes | None = None) -> CertificateInfo:
    record = from_row(row, der)
    return CertificateInfo(
        record=record,
        state=_state(row, record.not_after < now),
        owner=row.owner,
        labels=again_labels(row.labels),
        revoked_at=from_micros_or_none(row.revoked_at),
        revoked_reason=row.revoked_reason or "",
        block_id=row.block_id or "",
    )


def _state(row: Row[Any], expired: bool) -> CertificateState:
    if expired:
        return CertificateState.EXPIRED
    if row.revoked_at is not None:
        return CertificateState.REVOKED
    return CertificateState.INTENDED if row.issued_at is None else CertificateState.ACTIVE
