"""Wrapped private keys. What lies here opens only with the key-encryption key, which is never in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from ca.kek import KeyLabel, Wrapped, WrappedKey
from ca.keys import KeyType
from sds.store.tables import wrapped_keys
from sds.store.times import to_micros
from sds.store.tx import Tx


class Keys:
    """Every change needs an audit event."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def put(self, key: WrappedKey) -> None:
        """Store a new key. Raises ConstraintViolated if its id is taken."""
        label = key.label
        row = {
            "key_id": label.key_id,
            "trust_domain": label.trust_domain,
            "purpose": label.purpose,
            "key_type": str(label.key_type),
            "created_at": to_micros(self._tx.now),
            **_wrapping(key),
        }
        self._tx.change(wrapped_keys, insert(wrapped_keys).values(row))

    def get(self, key_id: str) -> WrappedKey | None:
        """The key, or None."""
        row = self._tx.first(select(wrapped_keys).where(wrapped_keys.c.key_id == key_id))
        return None if row is None else _from_row(row)

    def all(self) -> tuple[WrappedKey, ...]:
        """Every key, oldest first."""
        order = (wrapped_keys.c.created_at, wrapped_keys.c.key_id)
        return tuple(map(_from_row, self._tx.rows(select(wrapped_keys).order_by(*order))))

    def remove(self, key_id: str) -> bool:
        """Delete a key for good; whether there was one."""
        if self.get(key_id) is None:  # nothing changes then, and nothing has to be audited
            return False
        return self._tx.change(wrapped_keys, delete(wrapped_keys).where(wrapped_keys.c.key_id == key_id)).rowcount > 0

    def rewrap(self, wrap: Callable[[WrappedKey], WrappedKey]) -> int:
        """Put every key through `wrap` (ca.kek.KeyRing.rewrap); returns how many came back changed. All or nothing."""
        self._tx.check_writable()
        done = 0
        for row in self._tx.rows(select(wrapped_keys).order_by(wrapped_keys.c.key_id).with_for_update()):
            old = _from_row(row)
            new = wrap(old)
            if new == old:
                continue
            statement = update(wrapped_keys).where(wrapped_keys.c.key_id == old.label.key_id)
            self._tx.change(wrapped_keys, statement.values(_wrapping(new)))
            done += 1
        return done


def _wrapping(key: WrappedKey) -> dict[str, Any]:
    return {"kek_id": key.kek_id, "nonce": key.nonce, "ciphertext": key.ciphertext}


def _from_row(row: Row[Any]) -> WrappedKey:
    label = KeyLabel(row.key_id, row.trust_domain, row.purpose, KeyType(row.key_type))
    return Wrapped(label, row.kek_id, row.nonce, row.ciphertext)
