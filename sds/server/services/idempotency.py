"""Keys of requests, in the database: a retry may reach another replica, or this one after a restart."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

from sds.admin.errors import KeyReused, OutcomeUnknown, StillInProgress
from sds.admin.services import AdminCall
from sds.admin.services.idempotency import GivenAnswer
from sds.server.transactions import Transactions
from sds.store.access.idempotency import IN_PROGRESS
from sds.store.unit_of_work import UnitOfWork

KEPT = timedelta(days=1)
ABANDONED = timedelta(minutes=5)
"""Nothing takes so long: who began it is gone."""


class IdempotencyService:
    """Implements sds.admin.services.idempotency.IdempotencyAdmin."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    async def claim(self, call: AdminCall, key: str, digest: str) -> GivenAnswer | None:
        def work(uow: UnitOfWork) -> GivenAnswer | None:
            kept = uow.idempotency.claim(call.caller.id, _hash(key), digest)
            if kept is None:
                return None
            if kept.created_at < uow.now - KEPT:
                uow.idempotency.release(call.caller.id, _hash(key))
                uow.idempotency.claim(call.caller.id, _hash(key), digest)
                return None
            if kept.digest != digest:
                raise KeyReused
            if kept.status == IN_PROGRESS:
                raise OutcomeUnknown if kept.created_at < uow.now - ABANDONED else StillInProgress
            return GivenAnswer(kept.status, kept.headers, kept.body)

        return await self._store.write(work)

    async def keep(self, call: AdminCall, key: str, answer: GivenAnswer) -> None:
        await self._store.write(
            lambda uow: uow.idempotency.keep(call.caller.id, _hash(key), answer.status, answer.headers, answer.body)
        )

    async def release(self, call: AdminCall, key: str) -> None:
        await self._store.write(lambda uow: uow.idempotency.release(call.caller.id, _hash(key)))


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()
