"""Agents and what their sidecars hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from sds.admin.services import (
    AdminCall,
    AgentInfo,
    AgentQuery,
    Page,
    StreamInfo,
    StreamQuery,
)
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import agent_version
from sds.audit.event import Json, Target
from sds.server.services.common import Desk
from sds.store.filters import AgentFilter, StreamFilter
from sds.store.records import AgentRecord
from sds.store.unit_of_work import UnitOfWork


class LiveState(Protocol):
    """What this process knows of agents beyond the store."""

    def watching(self, agent_id: SpiffeId) -> int: ...

    def entries_of(self, agent_id: SpiffeId) -> Iterable[RegistrationEntry]: ...


class AgentService:
    """Implements sds.admin.services.AgentAdmin. The registry cuts off who is banned or deleted, on every replica."""

    def __init__(self, desk: Desk, live: LiveState) -> None:
        self._desk = desk
        self._live = live

    async def find(self, query: AgentQuery) -> Page[AgentInfo]:
        def work(uow: UnitOfWork) -> tuple[tuple[AgentRecord, ...], str | None, Mapping[SpiffeId, int]]:
            filters = AgentFilter(
                banned=query.banned,
                attestation_type=query.attestation_type,
                below=query.below,
                version=query.version,
                downstream=query.downstream,
                silent_since=query.silent_since,
                scopes=query.scopes,
                order=query.order,
            )
            found = uow.agents.search(filters, cursor=query.cursor, limit=query.limit)
            return found.items, found.next_cursor, uow.streams.counts()

        records, next_cursor, streams = await self._desk.store.read(work)
        return Page(tuple(self._info(record, streams) for record in records), next_cursor)

    async def get(self, spiffe_id: SpiffeId) -> AgentInfo:
        record, streams = await self._desk.store.read(lambda uow: (uow.agents.get(spiffe_id), uow.streams.counts()))
        return self._info(record, streams)

    async def ban(self, call: AdminCall, spiffe_id: SpiffeId, reason: str, condition: Condition = ANY) -> AgentInfo:
        def work(uow: UnitOfWork) -> AgentRecord:
            before = _as_wanted(uow, spiffe_id, condition)
            record = uow.agents.ban(spiffe_id, reason)
            if not before.banned:
                uow.streams.forget(spiffe_id)
                target = Target("agent", str(spiffe_id))
                details = {"serial": record.serial, "ban_reason": reason}
                uow.audit.append(self._desk.event(uow.now, call, "agent.ban", target, details))
            return record

        return self._info(await self._desk.change(work), {})

    async def delete(self, call: AdminCall, spiffe_id: SpiffeId, condition: Condition = ANY) -> AgentInfo:
        def work(uow: UnitOfWork) -> AgentRecord:
            _as_wanted(uow, spiffe_id, condition)
            record = uow.agents.delete(spiffe_id)
            uow.streams.forget(spiffe_id)
            details: dict[str, Json] = {"serial": record.serial, "banned": record.banned}
            target = Target("agent", str(spiffe_id))
            uow.audit.append(self._desk.event(uow.now, call, "agent.delete", target, details))
            return record

        return self._info(await self._desk.change(work), {})

    def _info(self, record: AgentRecord, streams: Mapping[SpiffeId, int]) -> AgentInfo:
        agent_id = record.spiffe_id
        return AgentInfo(
            spiffe_id=agent_id,
            attestation_type=record.attestation_type,
            selectors=record.selectors,
            serial=record.serial,
            not_after=record.not_after,
            attested_at=record.attested_at,
            renewed_at=record.renewed_at,
            last_seen=record.last_seen,
            banned_at=record.banned_at,
            banned_reason=record.banned_reason,
            address=record.address,
            version=record.version,
            downstream=record.downstream,
            bundle_sequence=record.bundle_sequence,
            connected=self._live.watching(agent_id) > 0,
            entries=sum(1 for _ in self._live.entries_of(agent_id)),
            streams=streams.get(agent_id, 0),
        )


def _as_wanted(uow: UnitOfWork, spiffe_id: SpiffeId, condition: Condition) -> AgentRecord:
    """The agent, which nobody else changes until the end of the transaction. Raises NotFound, Conflict."""
    uow.changes.lock()
    record = uow.agents.get(spiffe_id)
    condition.check(f"agent {spiffe_id}", agent_version(record))
    return record


class StreamService:
    """Implements sds.admin.services.StreamAdmin."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def find(self, query: StreamQuery) -> Page[StreamInfo]:
        filters = StreamFilter(
            agent_id=query.agent_id,
            spiffe_id=query.spiffe_id,
            node_id=query.node_id,
            protocol=query.protocol,
            resource=query.resource,
            rejected=query.nacked,
            waiting=query.behind,
            scopes=query.scopes,
            order=query.order,
        )

        def work(uow: UnitOfWork) -> Page[StreamInfo]:
            found = uow.streams.list(filters, cursor=query.cursor, limit=query.limit)
            return Page(tuple(StreamInfo.of(each, uow.now) for each in found.items), found.next_cursor)

        return await self._desk.store.read(work)
