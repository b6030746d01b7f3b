"""Keys of requests in memory."""

from __future__ import annotations

from sds.admin.errors import KeyReused, StillInProgress
from sds.admin.services import AdminCall
from sds.admin.services.idempotency import GivenAnswer


class FakeIdempotency:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[str, GivenAnswer | None]] = {}

    async def claim(self, call: AdminCall, key: str, digest: str) -> GivenAnswer | None:
        known = self.rows.get((call.caller.id, key))
        if known is None:
            self.rows[call.caller.id, key] = digest, None
            return None
        if known[0] != digest:
            raise KeyReused
        if known[1] is None:
            raise StillInProgress
        return known[1]

    async def keep(self, call: AdminCall, key: str, answer: GivenAnswer) -> None:
        self.rows[call.caller.id, key] = self.rows[call.caller.id, key][0], answer

    async def release(self, call: AdminCall, key: str) -> None:
        self.rows.pop((call.caller.id, key), None)
