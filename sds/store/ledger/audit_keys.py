"""The keys that have signed the audit log, the newest last. Their private halves are wrapped keys like others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from sds.store.tables import audit_keys
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx


@dataclass(frozen=True, slots=True)
class AuditKey:
    """`verifier` is the public half as text; `endorsement` the note by which the key before it vouches for it."""

    number: int
    verifier: str
    key_ref: str
    endorsement: str
    created_at: datetime


class AuditKeys:
    """Rows by number, from 1."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def all(self) -> tuple[AuditKey, ...]:
        rows = self._tx.rows(select(audit_keys).order_by(audit_keys.c.number))
        return tuple(
            AuditKey(int(row.number), row.verifier, row.key_ref, row.endorsement, from_micros(row.created_at))
            for row in rows
        )

    def put(self, key: AuditKey) -> None:
        """Needs an audit event. Raises ConstraintViolated if another process has made a key of this number."""
        row = {
            "number": key.number,
            "verifier": key.verifier,
            "key_ref": key.key_ref,
            "endorsement": key.endorsement,
            "created_at": to_micros(key.created_at),
        }
        self._tx.change(audit_keys, insert(audit_keys).values(row))
