"""The lists that are served over HTTP, to whoever follows a certificate's distribution point.

While nothing was ever revoked the bundle has no lists, but who asks for one must get one: an empty list, signed once a
process and kept in memory. It is never pushed to a sidecar.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ca.authority import Authority, AuthorityKind, SigningAuthority
from ca.errors import CaError
from ca.signer import Signer
from sds.audit.event import Json, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.events import Events, rfc3339, system_actor
from sds.server.revocation.lists import first_list
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.revocation.records import CrlRecord
from sds.store.unit_of_work import UnitOfWork


class Slots(Protocol):
    """All authorities, and the keys of each."""

    def slots(self, kind: AuthorityKind | None = None) -> tuple[Authority, ...]: ...

    async def signer(self, authority: Authority) -> Signer: ...


class ServedLists:
    """Reads the stored lists, and makes the empty ones."""

    def __init__(self, store: Transactions, authorities: Slots, events: Events, clock: Clock) -> None:
        self._store = store
        self._authorities = authorities
        self._events = events
        self._clock = clock
        self._empty: dict[str, bytes] = {}
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger(__name__)

    async def get(self, authority_id: str) -> bytes | None:
        """DER; None for what is no authority here, or cannot be had now. Raises StoreError."""
        stored = await self._store.read(lambda uow: uow.crls.get(authority_id))
        if stored is not None:
            return stored.der
        slots = self._authorities.slots(AuthorityKind.X509)
        authority = next((one for one in slots if one.id == authority_id and not one.revoked), None)
        if authority is None:
            return None
        async with self._one_at_a_time:
            if authority_id not in self._empty:
                self._empty = {name: der for name, der in self._empty.items() if name in {one.id for one in slots}}
                try:
                    self._empty[authority_id] = await self._make(authority)
                except (CaError, StoreError) as error:
                    self._log.warning("an empty CRL could not be made", authority_id=authority_id, reason=str(error))
                    return None
            return self._empty[authority_id]

    async def _make(self, authority: Authority) -> bytes:
        signing = SigningAuthority.open(authority, await self._authorities.signer(authority))
        made = await asyncio.to_thread(first_list, signing, self._clock.now())
        await self._store.write(lambda uow: self._record(uow, made))
        return made.der

    def _record(self, uow: UnitOfWork, made: CrlRecord) -> None:
        details: dict[str, Json] = {"number": made.number, "entries": 0, "next_update": rfc3339(made.next_update)}
        target = Target("authority", made.authority_id)
        uow.audit.append(self._events.make(uow.now, "crl.serve", system_actor(), target, details=details))
