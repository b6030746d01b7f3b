"""OCSP answers that agents hand to their sidecars, to be stapled to what those present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.server.revocation.ocsp import OcspAnswer
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.unit_of_work import UnitOfWork


class Stapler(Protocol):
    """See sds.server.revocation.ocsp.OcspService."""

    async def staple(self, authority_id: str, serial: str) -> OcspAnswer | None: ...


class Staples:
    """Answers for an agent about what it was given."""

    def __init__(self, store: Transactions, stapler: Stapler) -> None:
        self._store = store
        self._stapler = stapler

    async def of(self, agent_id: SpiffeId, serials: Sequence[str]) -> Mapping[str, OcspAnswer]:
        """By serial. What this agent did not ask for, and what cannot be had now, is left out. Raises StoreError."""
        wanted = tuple(dict.fromkeys(serials))
        authorities = await self._store.read(lambda uow: _issuers(uow, agent_id, wanted))
        found: dict[str, OcspAnswer] = {}
        for serial, authority_id in authorities.items():
            answer = await self._stapler.staple(authority_id, serial)
            if answer is not None:
                found[serial] = answer
        return found


def _issuers(uow: UnitOfWork, agent_id: SpiffeId, serials: Sequence[str]) -> dict[str, str]:
    """The authorities of those certificates that were issued to this agent."""
    found: dict[str, str] = {}
    for serial in serials:
        try:
            record = uow.certificates.get(serial)
        except NotFound:
            continue
        if record.agent_id == agent_id:
            found[record.serial] = record.authority_id
    return found
