"""The fleet view: what each sidecar holds, as agents report it. Observations, so neither audited nor in the feed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, exists, func, literal, or_, select

from attestation.spiffe_id import SpiffeId
from sds.store.codec import chunks, texts, to_json
from sds.store.filters import StreamFilter
from sds.store.inventory.parts import within
from sds.store.paging import Order, both_ways, page
from sds.store.records import (
    NEVER_ACKNOWLEDGED,
    Page,
    Part,
    ProcessRecord,
    ReportPosition,
    ResourceRecord,
    StreamRecord,
)
from sds.store.tables import entries, reports, streams
from sds.store.tables.delivery import NEVER
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx

_NO_FILTER = StreamFilter()
_Terms = list[ColumnElement[bool]]
_KEY = (streams.c.agent_id, streams.c.stream_id)
# The longest lag is the oldest moment.
_LAG = {
    name: Order(name, (streams.c.waiting_since, *_KEY), (int, str, str), down=down)
    for name, down in (("lag", True), ("-lag", False))
}
_ORDERS = (
    both_ways("agent", _KEY, (str, str)) | both_ways("opened", (streams.c.opened_at, *_KEY), (int, str, str)) | _LAG
)
_TIMES = frozenset({"sent_at", "acked_at"})
_RESOURCE = tuple(item.name for item in fields(ResourceRecord))
_SENT, _ACKED = _RESOURCE.index("sent_sequence"), _RESOURCE.index("acked_sequence")
_SENT_AT, _NACKED = _RESOURCE.index("sent_at"), _RESOURCE.index("nacked_version")


class Streams:
    """Rows by agent and stream."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def upsert(self, records: Sequence[StreamRecord]) -> None:
        """Store these streams; others stay."""
        if not records:
            return
        statement = self._tx.insert(streams)
        keys = [column.name for column in streams.primary_key]
        update = {column.name: statement.excluded[column.name] for column in streams.c if column.name not in keys}
        self._tx.note(
            statement.on_conflict_do_update(index_elements=keys, set_=update), [self._row(record) for record in records]
        )

    def replace(self, agent_id: SpiffeId, records: Sequence[StreamRecord]) -> None:
        """Store these streams and forget all others of this agent."""
        self.forget(agent_id)
        self.upsert(records)

    def delete(self, agent_id: SpiffeId, stream_ids: Iterable[str]) -> None:
        """Forget these; unknown ones are skipped."""
        for ids in chunks(stream_ids):
            self._tx.note(delete(streams).where(streams.c.agent_id == str(agent_id), streams.c.stream_id.in_(ids)))

    def forget(self, agent_id: SpiffeId) -> None:
        """Forget all streams of an agent."""
        self._tx.note(delete(streams).where(streams.c.agent_id == str(agent_id)))

    def list(
        self, filters: StreamFilter = _NO_FILTER, *, cursor: str | None = None, limit: int = 100
    ) -> Page[StreamRecord]:
        """In the order that the filters name; of agents and their streams if they name none. Raises InvalidCursor."""
        statement, order = select(streams).where(*self._conditions(filters)), _ORDERS[filters.order]
        rows, next_cursor = page(self._tx, statement, order, cursor=cursor, limit=limit)
        return Page(tuple(map(_from_row, rows)), next_cursor)

    def count(self, filters: StreamFilter = _NO_FILTER) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(streams).where(*self._conditions(filters))))

    def _conditions(self, filters: StreamFilter) -> Sequence[ColumnElement[bool]]:
        columns, found = streams.c, _Terms()
        equal = (
            (columns.agent_id, filters.agent_id),
            (columns.node_id, filters.node_id),
            (columns.protocol, filters.protocol),
        )
        found += [column == str(value) for column, value in equal if value is not None]
        # Quoted as in the JSON list, so that nothing is found inside something longer.
        if filters.spiffe_id is not None:
            found.append(self._tx.contains(columns.spiffe_ids, f'"{filters.spiffe_id}"'))
        if filters.resource is not None:
            found.append(self._tx.contains(columns.resources, f"[{to_json(filters.resource)},"))
        if filters.serial is not None:
            found.append(self._tx.contains(columns.resources, f'"{filters.serial}"'))
        if filters.rejected is not None:
            found.append(columns.rejected == int(filters.rejected))
        if filters.waiting is not None:
            found.append(columns.waiting_since < NEVER if filters.waiting else columns.waiting_since == NEVER)
        return found + self._within(filters.scopes)

    def _within(self, scopes: Iterable[Part]) -> _Terms:
        """Streams that bear an identity of any of these parts, by the entries that stand."""
        found: _Terms = []
        for part in scopes:
            terms = []
            if part.below is not None:
                ids = streams.c.spiffe_ids
                terms.append(or_(self._tx.contains(ids, f'"{part.below}"'), self._tx.contains(ids, f'"{part.below}/')))
            if part.labels:
                named = self._tx.contains(streams.c.spiffe_ids, literal('"') + entries.c.spiffe_id + literal('"'))
                inside = within(self._tx, [part], entries.c.spiffe_id, entries.c.id)
                terms.append(exists().where(named, *inside))
            if not terms:
                return []
            found.append(and_(*terms))
        return [or_(*found)] if found else []

    def holding(self, sequence: int, settled_by: datetime) -> tuple[Mapping[SpiffeId, int], tuple[StreamRecord, ...]]:
        """Who has which bundle: of each agent how many streams surely have bundle `sequence` or a newer one, and all
        others that were ever sent one.

        A stream surely has it if everything was ACKed and nothing rejected; where nothing is ever ACKed, if everything
        was sent by `settled_by`. Large fleets are read for this again and again, so only the others become records.
        """
        ahead: dict[str, int] = {}
        others: list[StreamRecord] = []
        settled = to_micros(settled_by)
        for row in self._tx.rows(select(streams).order_by(streams.c.agent_id, streams.c.stream_id)):
            sent = [resource for resource in json.loads(row.resources) if resource[_SENT:] and resource[_SENT]]
            if not sent:
                continue
            silent = row.protocol == NEVER_ACKNOWLEDGED
            if all(_surely(resource, sequence, settled, silent=silent) for resource in sent):
                ahead[row.agent_id] = ahead.get(row.agent_id, 0) + 1
            else:
                others.append(_from_row(row))
        return {SpiffeId.parse(agent): number for agent, number in ahead.items()}, tuple(others)

    def counts(self) -> Mapping[SpiffeId, int]:
        """How many streams each agent has; agents without any are left out."""
        rows = self._tx.rows(select(streams.c.agent_id, func.count().label("number")).group_by(streams.c.agent_id))
        return {SpiffeId.parse(row.agent_id): row.number for row in rows}

    def position(self, agent_id: SpiffeId) -> ReportPosition | None:
        """The last report that was taken in; None if none ever was."""
        row = self._tx.first(select(reports).where(reports.c.agent_id == str(agent_id)))
        return None if row is None else ReportPosition(row.run_id, row.sequence)

    def set_position(self, agent_id: SpiffeId, position: ReportPosition) -> None:
        """Remember it, in the transaction that takes the report in: repeats are then recognised for sure."""
        values = {"run_id": position.run_id, "sequence": position.sequence}
        statement = self._tx.insert(reports).values(agent_id=str(agent_id), **values)
        self._tx.note(statement.on_conflict_do_update(index_elements=["agent_id"], set_=values))

    def _row(self, record: StreamRecord) -> dict[str, Any]:
        return {
            "agent_id": str(record.agent_id),
            "stream_id": record.stream_id,
            "protocol": record.protocol,
            "pid": record.process.pid,
            "uid": record.process.uid,
            "path": record.process.path,
            "spiffe_ids": to_json(record.spiffe_ids),
            "node_id": record.node_id,
            "opened_at": to_micros(record.opened_at),
            "resources": to_json([_resource_out(resource) for resource in record.resources]),
            "reported_at": to_micros(self._tx.now),
            "rejected": int(record.rejected),
            "waiting_since": NEVER if record.waiting_since is None else to_micros(record.waiting_since),
        }


def _surely(resource: list[Any], sequence: int, settled: int, *, silent: bool) -> bool:
    if silent:
        return bool(resource[_SENT] >= sequence and resource[_SENT_AT] is not None and resource[_SENT_AT] <= settled)
    return bool(resource[_ACKED] >= sequence and not resource[_NACKED])


def _resource_out(resource: ResourceRecord) -> list[Any]:
    values = [getattr(resource, name) for name in _RESOURCE]
    return [
        to_micros(value) if name in _TIMES and value is not None else value
        for name, value in zip(_RESOURCE, values, strict=True)
    ]


def _resource_in(values: list[Any]) -> ResourceRecord:
    known = dict(zip(_RESOURCE, values, strict=False))  # an older version's row has fewer
    for name in _TIMES:
        known[name] = from_micros_or_none(known[name])
    return ResourceRecord(**known)


def _from_row(row: Row[Any]) -> StreamRecord:
    return StreamRecord(
        agent_id=SpiffeId.parse(row.agent_id),
        stream_id=row.stream_id,
        protocol=row.protocol,
        process=ProcessRecord(row.pid, row.uid, row.path),
        spiffe_ids=texts(row.spiffe_ids),
        node_id=row.node_id,
        opened_at=from_micros(row.opened_at),
        resources=tuple(map(_resource_in, json.loads(row.resources))),
    )
