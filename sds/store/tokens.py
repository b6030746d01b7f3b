"""Join tokens, by their hash."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from attestation.spiffe_id import SpiffeId
from sds.store.errors import TokenRefused
from sds.store.records import TokenRecord
from sds.store.tables import join_tokens
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx


class Tokens:
    """A token is good once. The token itself is never handed to the store."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def create(
        self, token_hash: str, spiffe_id: SpiffeId, expires_at: datetime, *, downstream: bool = False
    ) -> TokenRecord:
        """Store a new token. Needs an audit event."""
        row = {
            "hash": token_hash,
            "spiffe_id": str(spiffe_id),
            "created_at": to_micros(self._tx.now),
            "expires_at": to_micros(expires_at),
            "used_from": "",
            "downstream": int(downstream),
        }
        self._tx.change(join_tokens, insert(join_tokens).values(row))
        return TokenRecord(token_hash, spiffe_id, self._tx.now, expires_at, downstream=downstream)

    def consume(self, token_hash: str, now: datetime, address: str = "") -> TokenRecord:
        """Use the token up; of any number of callers at the same time exactly one succeeds. Needs an audit event.

        Raises TokenRefused.
        """
        moment = to_micros(now)
        statement = (
            update(join_tokens)
            .where(join_tokens.c.hash == token_hash, join_tokens.c.used_at.is_(None), join_tokens.c.expires_at > moment)
            .values(used_at=moment, used_from=address)
            .returning(*join_tokens.c)
        )
        row = self._tx.note(statement).first()
        if row is None:
            raise TokenRefused(self._why_not(token_hash))
        self._tx.unaudited.add(join_tokens.name)
        return _from_row(row)

    def find(self, token_hash: str, now: datetime) -> TokenRecord:
        """The token, if it could be consumed now. Raises TokenRefused."""
        row = self._tx.first(select(join_tokens).where(join_tokens.c.hash == token_hash))
        if row is None or row.used_at is not None or row.expires_at <= to_micros(now):
            raise TokenRefused(self._why_not(token_hash))
        return _from_row(row)

    def purge(self, before: datetime) -> int:
        """Forget tokens that expired before then; returns how many. The audit log remembers what they did."""
        return self._tx.note(delete(join_tokens).where(join_tokens.c.expires_at < to_micros(before))).rowcount

    def _why_not(self, token_hash: str) -> str:
        row = self._tx.first(select(join_tokens).where(join_tokens.c.hash == token_hash))
        if row is None:
            return "unknown"
        return "expired" if row.used_at is None else "used"


def _from_row(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        row.hash,
        SpiffeId.parse(row.spiffe_id),
        from_micros(row.created_at),
        from_micros(row.expires_at),
        from_micros_or_none(row.used_at),
        row.used_from,
        bool(row.downstream),
    )
