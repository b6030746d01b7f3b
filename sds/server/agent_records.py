"""What the store knows of agents that the authorised state does not know yet."""

from __future__ import annotations

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

    async def agent(self, agent_id: SpiffeId) -> AgentRecord | None:
        def work(uow: UnitOfWork) -> AgentRecord | None:
            try:
                return uow.agents.get(agent_id)
            except NotFound:
                return None

        return await self._store.read(work)

    async def issued(self, record: AgentRecord, serial: str) -> bool:
        def work(uow: UnitOfWork) -> bool:
            try:
                certificate = uow.certificates.get(serial)
            except NotFound:
                return False
            return (
                certificate.profile == ProfileName.AGENT
                and certificate.spiffe_id == record.spiffe_id
                and certificate.requested_at >= record.attested_at
            )

        return await self._store.read(work)
