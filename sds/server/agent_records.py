"""What the store knows of agents that the authorised state does not know yet."""

from __future__ import annotations

from datetime import datetime

from attestation.spiffe_id import SpiffeId
from ca.profile import ProfileName
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.records import AgentRecord
from sds.store.unit_of_work import UnitOfWork


class AgentRecords:
    """Implements sds.server.identity.AgentLookup."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    async def agent(self, agent_id: SpiffeId) -> tuple[AgentRecord | None, int]:
        def work(uow: UnitOfWork) -> tuple[AgentRecord | None, int]:
            revision = uow.changes.state().newest
            try:
                return uow.agents.get(agent_id), revision
            except NotFound:
                return None, revision

        return await self._store.read(work)

    async def issued(self, record: AgentRecord, serial: str) -> datetime | None:
        def work(uow: UnitOfWork) -> datetime | None:
            try:
                certificate = uow.certificates.get(serial)
            except NotFound:
                return None
            its = (
                certificate.profile == ProfileName.AGENT
                and certificate.spiffe_id == record.spiffe_id
                and certificate.requested_at >= record.attested_at
            )
            return certificate.requested_at if its else None

        return await self._store.read(work)
