"""Attested agents, and which of them are banned."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, func, literal, select, update

from attestation.spiffe_id import SpiffeId
from sds.store.changes import Changes
from sds.store.codec import parse_selectors_text, selectors_text
from sds.store.errors import Banned, NotFound
from sds.store.filters import AgentFilter
from sds.store.inventory.parts import at_or_below, within
from sds.store.paging import both_ways, page
from sds.store.records import AgentRecord, ChangeKind, Page, Part
from sds.store.tables import agents
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from sds.store.tx import Tx

_ORDERS = (
    both_ways("spiffe_id", (agents.c.spiffe_id,), (str,))
    | both_ways("attested", (agents.c.attested_at, agents.c.spiffe_id), (int, str))
    | both_ways("expires", (agents.c.not_after, agents.c.spiffe_id), (int, str))
)


class Agents:
    """Attesting, renewing, banning and deleting tell the feed and need an audit event; having been seen does not."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    def upsert(self, record: AgentRecord) -> AgentRecord:
        """Store an agent that has attested or renewed; returns what stands now.

        Its ban is not touched: raises Banned if there is one, so that a ban and an attestation cannot cross.
        """
        self._changes.lock()
        values = {
            "attestation_type": record.attestation_type,
            "selectors": selectors_text(record.selectors),
            "serial": record.serial,
            "not_after": to_micros(record.not_after),
            "key_hash": record.key_hash,
            "attested_at": to_micros(record.attested_at),
            "renewed_at": to_micros_or_none(record.renewed_at),
            "last_seen": to_micros_or_none(record.last_seen),
            "address": record.address,
            "version": record.version,
            "downstream": int(record.downstream),
        }
        statement = self._tx.insert(agents).values(spiffe_id=str(record.spiffe_id), banned_reason="", **values)
        statement = statement.on_conflict_do_update(
            index_elements=["spiffe_id"], set_=values, where=agents.c.banned_at.is_(None)
        )
        if self._tx.note(statement.returning(agents.c.spiffe_id)).first() is None:
            raise Banned(str(record.spiffe_id))
        self._tx.unaudited.add(agents.name)
        self._changes.append(ChangeKind.AGENT, str(record.spiffe_id))
        return self.get(record.spiffe_id)

    def get(self, spiffe_id: SpiffeId) -> AgentRecord:
        """Raises NotFound."""
        row = self._tx.first(select(agents).where(agents.c.spiffe_id == str(spiffe_id)))
        if row is None:
            raise NotFound("agent", str(spiffe_id))
        return _from_row(row)

    def all(self) -> tuple[AgentRecord, ...]:
        """Every agent, in order of its SPIFFE ID."""
        return tuple(map(_from_row, self._tx.rows(select(agents).order_by(agents.c.spiffe_id))))

    def list(
        self,
        *,
        banned: bool | None = None,
        attestation_type: str | None = None,
        scopes: tuple[Part, ...] = (),
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AgentRecord]:
        """In order of their SPIFFE IDs. `scopes`: parts of the trust domain, or-ed; empty is everything, and an agent
        has no labels. Raises InvalidCursor.
        """
        filters = AgentFilter(banned=banned, attestation_type=attestation_type, scopes=scopes)
        return self.search(filters, cursor=cursor, limit=limit)

    def search(self, filters: AgentFilter, *, cursor: str | None = None, limit: int = 100) -> Page[AgentRecord]:
        """In the order that the filters name. Raises InvalidCursor."""
        statement, order = select(agents).where(*_conditions(self._tx, filters)), _ORDERS[filters.order]
        rows, next_cursor = page(self._tx, statement, order, cursor=cursor, limit=limit)
        return Page(tuple(map(_from_row, rows)), next_cursor)

    def ban(self, spiffe_id: SpiffeId, reason: str) -> AgentRecord:
        """Idempotent: a second ban changes nothing and keeps the first one's time and reason. Raises NotFound."""
        self._changes.lock()
        statement = update(agents).where(agents.c.spiffe_id == str(spiffe_id), agents.c.banned_at.is_(None))
        done = self._tx.note(statement.values(banned_at=to_micros(self._tx.now), banned_reason=reason)).rowcount
        record = self.get(spiffe_id)
        if done:
            self._tx.unaudited.add(agents.name)
            self._changes.append(ChangeKind.AGENT, str(spiffe_id))
        return record

    def delete(self, spiffe_id: SpiffeId) -> AgentRecord:
        """Forget it, ban included; returns what stood. Raises NotFound."""
        self._changes.lock()
        record = self.get(spiffe_id)
        self._tx.change(agents, delete(agents).where(agents.c.spiffe_id == str(spiffe_id)))
        self._changes.append(ChangeKind.AGENT, str(spiffe_id))
        return record

    def seen(self, times: Iterable[tuple[SpiffeId, datetime]]) -> None:
        """Note when agents were last heard of; unknown ones are skipped. Neither audited nor in the feed."""
        rows = [{"agent": str(spiffe_id), "seen": to_micros(time)} for spiffe_id, time in times]
        if rows:
            # In one order everywhere, so that two replicas that do this at once cannot wait for each other.
            rows.sort(key=lambda row: str(row["agent"]))
            statement = update(agents).where(agents.c.spiffe_id == bindparam("agent"))
            self._tx.note(statement.values(last_seen=bindparam("seen")), rows)

    def verifies_by(self, agent_id: SpiffeId, bundle_sequence: int) -> None:
        """Note which bundle an agent says it verifies by; unknown ones are skipped. Neither audited nor in the feed."""
        mine = update(agents).where(agents.c.spiffe_id == str(agent_id), agents.c.bundle_sequence != bundle_sequence)
        self._tx.note(mine.values(bundle_sequence=bundle_sequence))

    def running(self, versions: Iterable[tuple[SpiffeId, str]]) -> None:
        """Note which version agents say they are; unknown ones are skipped. Neither audited nor in the feed."""
        rows = [{"agent": str(spiffe_id), "running": version} for spiffe_id, version in versions]
        if rows:
            rows.sort(key=lambda row: row["agent"])  # in one order everywhere, as above
            statement = update(agents).where(agents.c.spiffe_id == bindparam("agent"))
            self._tx.note(statement.values(version=bindparam("running")), rows)


def _conditions(tx: Tx, filters: AgentFilter) -> list[ColumnElement[bool]]:
    columns = agents.c
    found: list[ColumnElement[bool]] = []
    if filters.banned is not None:
        found.append(columns.banned_at.is_not(None) if filters.banned else columns.banned_at.is_(None))
    if filters.attestation_type is not None:
        found.append(columns.attestation_type == filters.attestation_type)
    if filters.below is not None:
        found.append(at_or_below(columns.spiffe_id, filters.below))
    if filters.version is not None:
        found.append(columns.version == filters.version)
    if filters.downstream is not None:
        found.append(columns.downstream == int(filters.downstream))
    if filters.silent_since is not None:
        found.append(func.coalesce(columns.last_seen, columns.attested_at) < to_micros(filters.silent_since))
    return found + within(tx, filters.scopes, columns.spiffe_id, literal(""))


def _from_row(row: Row[Any]) -> AgentRecord:
    return AgentRecord(
        spiffe_id=SpiffeId.parse(row.spiffe_id),
        attestation_type=row.attestation_type,
        selectors=parse_selectors_text(row.selectors),
        serial=row.serial,
        not_after=from_micros(row.not_after),
        key_hash=row.key_hash,
        attested_at=from_micros(row.attested_at),
        renewed_at=from_micros_or_none(row.renewed_at),
        last_seen=from_micros_or_none(row.last_seen),
        banned_at=from_micros_or_none(row.banned_at),
        banned_reason=row.banned_reason,
        address=row.address,
        version=row.version,
        downstream=bool(row.downstream),
        bundle_sequence=row.bundle_sequence,
    )
