"""Requests that were sent with a key, so that none is done twice; and what they were answered with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, delete, select, update

from sds.store.codec import to_json
from sds.store.tables import idempotency_keys
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx

IN_PROGRESS = 0


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """`digest`: of the request. `status` is IN_PROGRESS until it was answered. `body` None: it was not kept."""

    digest: str
    status: int
    created_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


class IdempotencyKeys:
    """No decisions: neither audited nor in the feed. Keys are hashes, so that nothing a client chose lies here."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def claim(self, caller: str, key: str, digest: str) -> KeptAnswer | None:
        """None if the key is new and now this request's; else what stands of it. Of two at once one gets None."""
        values = {"digest": digest, "status": IN_PROGRESS, "headers": "{}", "body": b""}
        statement = self._tx.insert(idempotency_keys).values(
            caller=caller, key=key, created_at=to_micros(self._tx.now), **values
        )
        claimed = statement.on_conflict_do_nothing().returning(idempotency_keys.c.key)
        if self._tx.note(claimed).first() is not None:
            return None
        row = self._tx.first(select(idempotency_keys).where(*_named(caller, key)))
        if row is None:  # it was released between the two
            return KeptAnswer(digest, IN_PROGRESS, self._tx.now)
        headers = json.loads(row.headers)
        body = None if headers.pop("", None) else bytes(row.body)
        return KeptAnswer(row.digest, row.status, from_micros(row.created_at), headers, body)

    def keep(self, caller: str, key: str, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """The answer. `body` None: it is not to be stored."""
        marked = {**headers, **({"": "spent"} if body is None else {})}
        values = {"status": status, "headers": to_json(marked), "body": body or b""}
        self._tx.note(update(idempotency_keys).where(*_named(caller, key)).values(**values))

    def release(self, caller: str, key: str) -> None:
        """Nothing was done: the same key may be tried again."""
        self._tx.note(delete(idempotency_keys).where(*_named(caller, key)))

    def purge(self, before: datetime) -> int:
        """Forget those first sent before then; returns how many."""
        old = idempotency_keys.c.created_at < to_micros(before)
        return self._tx.note(delete(idempotency_keys).where(old)).rowcount


def _named(caller: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return idempotency_keys.c.caller == caller, idempotency_keys.c.key == key
