"""The certificates that are revoked, each until it expires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, exists, func, or_, select, tuple_

from attestation.spiffe_id import SpiffeId
from ca.revocation import Reason, Revoked
from sds.store.codec import chunks, make_cursor, read_cursor
from sds.store.records import Page
from sds.store.revocation.records import BlockKind, BlockRecord, Concerned, Missed, RevocationRecord
from sds.store.tables import blocks, certificates, revocations
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx

_COLUMNS = {
    BlockKind.SERIAL: certificates.c.serial,
    BlockKind.SPIFFE_ID: certificates.c.spiffe_id,
    BlockKind.KEY: certificates.c.key_hash,
    BlockKind.ENTRY: certificates.c.entry_id,
    BlockKind.AUTHORITY: certificates.c.authority_id,
}
_ABOUT: dict[BlockKind, ColumnElement[bool]] = {
    **{kind: column == blocks.c.value for kind, column in _COLUMNS.items() if kind is not BlockKind.AUTHORITY},
    BlockKind.AGENT: or_(certificates.c.agent_id == blocks.c.value, certificates.c.spiffe_id == blocks.c.value),
}
"""When a block of each kind is about a certificate. What an authority issued is out with the authority itself."""
_REVOKED = exists().where(revocations.c.serial == certificates.c.serial)


class Revocations:
    """Adding and releasing need an audit event; forgetting what has expired does not."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def concerned(self, kind: BlockKind, value: str, *, limit: int, new: bool = False) -> tuple[Concerned, ...]:
        """At most `limit` unexpired certificates that a block of this kind is about, oldest first; intents count.

        Of an agent these are its own and all that it asked for: it had their keys. `new` leaves out revoked ones.
        """
        statement = select(certificates).where(_about(kind, value), certificates.c.not_after >= to_micros(self._tx.now))
        if new:
            statement = statement.where(~_REVOKED)
        rows = self._tx.rows(statement.order_by(certificates.c.number).limit(limit))
        return tuple(map(_concerned, rows))

    def missed(self, *, limit: int) -> tuple[Missed, ...]:
        """At most `limit` unexpired certificates that are not revoked although a block stands that is about them: their
        intents became durable at the same moment as the block.
        """
        found: dict[str, Missed] = {}
        for kind, about in _ABOUT.items():
            stands = and_(blocks.c.kind == kind.value, blocks.c.lifted_at.is_(None), about)
            statement = (
                select(certificates, blocks.c.id.label("block_id"), blocks.c.reason)
                .join(blocks, stands)
                .where(certificates.c.not_after >= to_micros(self._tx.now), ~_REVOKED)
                .order_by(certificates.c.number, blocks.c.created_at)
                .limit(limit)
            )
            for row in self._tx.rows(statement):
                found.setdefault(row.serial, Missed(_concerned(row), row.block_id, Reason(row.reason)))
        return tuple(found.values())[:limit]

    def add(self, records: Sequence[RevocationRecord]) -> None:
        """One that is revoked already stays as it is, but a hold becomes final when the new reason is none."""
        if not records:
            return
        statement = self._tx.insert(revocations)
        final = and_(
            revocations.c.reason == Reason.CERTIFICATE_HOLD.value,
            statement.excluded.reason != Reason.CERTIFICATE_HOLD.value,
        )
        update = {"reason": statement.excluded.reason, "block_id": statement.excluded.block_id}
        statement = statement.on_conflict_do_update(index_elements=["serial"], set_=update, where=final)
        # In one order everywhere, so that two that do this at once cannot wait for each other.
        self._tx.note(statement, [_row(record) for record in sorted(records, key=lambda one: one.serial)])
        self._tx.unaudited.add(revocations.name)

    def release(self, block: BlockRecord) -> frozenset[str]:
        """Take back what the block only held; returns the authorities whose lists change by that."""
        held = (revocations.c.block_id == block.id, revocations.c.reason == Reason.CERTIFICATE_HOLD.value)
        rows = self._tx.rows(select(revocations.c.authority_id).where(*held).distinct())
        if rows:
            self._tx.change(revocations, delete(revocations).where(*held))
        return frozenset(row.authority_id for row in rows)

    def under(self, authority_id: str) -> tuple[Revoked, ...]:
        """What the authority's list says: its revoked certificates that have not expired."""
        statement = select(revocations.c.serial, revocations.c.revoked_at, revocations.c.reason).where(
            revocations.c.authority_id == authority_id, revocations.c.not_after >= to_micros(self._tx.now)
        )
        rows = self._tx.rows(statement.order_by(revocations.c.serial))
        return tuple(Revoked(row.serial, from_micros(row.revoked_at), Reason(row.reason)) for row in rows)

    def find(self, serials: Iterable[str]) -> Mapping[str, RevocationRecord]:
        """Which of these are revoked."""
        found: dict[str, RevocationRecord] = {}
        for some in chunks(serials):
            statement = select(revocations).where(revocations.c.serial.in_(some))
            found |= {row.serial: _from_row(row) for row in self._tx.rows(statement)}
        return found

    def of_profile(self, profile: str) -> frozenset[str]:
        """The serials of unexpired revoked certificates that were issued under a profile."""
        statement = (
            select(revocations.c.serial)
            .join(certificates, certificates.c.serial == revocations.c.serial)
            .where(certificates.c.profile == profile, revocations.c.not_after >= to_micros(self._tx.now))
        )
        return frozenset(row.serial for row in self._tx.rows(statement))

    def all(self) -> tuple[RevocationRecord, ...]:
        """Every one that has not expired, in order of serials."""
        unexpired = revocations.c.not_after >= to_micros(self._tx.now)
        return tuple(map(_from_row, self._tx.rows(select(revocations).where(unexpired).order_by(revocations.c.serial))))

    def list(
        self,
        *,
        authority_id: str | None = None,
        block_id: str | None = None,
        reason: Reason | None = None,
        oldest_first: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[RevocationRecord]:
        """Newest first unless it is said otherwise; expired ones too until they are forgotten. Raises InvalidCursor."""
        order = (revocations.c.revoked_at, revocations.c.serial)
        by = [column.asc() if oldest_first else column.desc() for column in order]
        statement = select(revocations).order_by(*by).limit(limit + 1)
        if reason is not None:
            statement = statement.where(revocations.c.reason == reason.value)
        if authority_id is not None:
            statement = statement.where(revocations.c.authority_id == authority_id)
        if block_id is not None:
            statement = statement.where(revocations.c.block_id == block_id)
        if cursor is not None:
            place, after = tuple_(*order), read_cursor(cursor, int, str)
            statement = statement.where(place > after if oldest_first else place < after)
        rows = self._tx.rows(statement)
        found = tuple(map(_from_row, rows[:limit]))
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(found, None if last is None else make_cursor(last.revoked_at, last.serial))

    def count(self, authority_id: str | None = None) -> int:
        """How many unexpired ones there are, under one authority or at all."""
        statement = select(func.count()).where(revocations.c.not_after >= to_micros(self._tx.now))
        if authority_id is not None:
            statement = statement.where(revocations.c.authority_id == authority_id)
        return int(self._tx.scalar(statement))

    def purge(self, expired_before: datetime) -> int:
        """Forget those that expired before then; returns how many. The audit log stays."""
        return self._tx.note(delete(revocations).where(revocations.c.not_after < to_micros(expired_before))).rowcount


def _concerned(row: Row[Any]) -> Concerned:
    return Concerned(
        serial=row.serial,
        spiffe_id=SpiffeId.parse(row.spiffe_id),
        profile=row.profile,
        authority_id=row.authority_id,
        not_after=from_micros(row.not_after),
        entry_id=row.entry_id,
        agent_id=SpiffeId.parse(row.agent_id) if row.agent_id else None,
    )


def _about(kind: BlockKind, value: str) -> ColumnElement[bool]:
    if kind is BlockKind.AGENT:
        return or_(certificates.c.agent_id == value, certificates.c.spiffe_id == value)
    return _COLUMNS[kind] == value


def _row(record: RevocationRecord) -> dict[str, Any]:
    return {
        "serial": record.serial,
        "authority_id": record.authority_id,
        "not_after": to_micros(record.not_after),
        "reason": record.reason.value,
        "revoked_at": to_micros(record.revoked_at),
        "block_id": record.block_id,
    }


def _from_row(row: Row[Any]) -> RevocationRecord:
    return RevocationRecord(
        serial=row.serial,
        authority_id=row.authority_id,
        not_after=from_micros(row.not_after),
        reason=Reason(row.reason),
        revoked_at=from_micros(row.revoked_at),
        block_id=row.block_id,
    )
