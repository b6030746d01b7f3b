"""A few facts about the database itself."""

from __future__ import annotations

from sqlalchemy import BigInteger, Text, cast, select

from sds.store.tables import settings
from sds.store.tx import Tx

EPOCH = "epoch"


class Settings:
    """Names and texts. They hold the store's own bookkeeping, not configuration, so they are not audited."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def get(self, key: str) -> str | None:
        value = self._tx.scalar(select(settings.c.value).where(settings.c.key == key))
        return None if value is None else str(value)

    def put(self, key: str, value: str) -> None:
        insert = self._tx.insert(settings).values(key=key, value=value)
        self._tx.note(insert.on_conflict_do_update(index_elements=["key"], set_={"value": value}))

    def count_up(self, key: str) -> int:
        """Add one to a counter that starts at 0; returns what it is now. Safe against others that count at once."""
        insert = self._tx.insert(settings).values(key=key, value="1")
        one_more = cast(cast(settings.c.value, BigInteger) + 1, Text)
        counted = insert.on_conflict_do_update(index_elements=["key"], set_={"value": one_more})
        return int(self._tx.note(counted.returning(settings.c.value)).scalar_one())

    @property
    def epoch(self) -> str:
        """The random name of this database, made with its schema; sequence numbers mean something within it only."""
        return self.get(EPOCH) or ""
