"""Who may have which secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import delete, func, insert, select, tuple_

from sds.secrets.grant import Grant, Subject
from sds.store.changes import Changes
from sds.store.codec import chunks, make_cursor, read_cursor
from sds.store.errors import AlreadyGranted, NotFound
from sds.store.records import ChangeKind, Page
from sds.store.secrets import rows
from sds.store.tables import grants, secrets
from sds.store.times import to_micros
from sds.store.tx import Tx


class Grants:
    """Every change tells the feed, as a change of the secret, and needs an audit event."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    def create(self, secret_id: str, subject: Subject, grant_id: str, by: str = "") -> Grant:
        """Raises NotFound for the secret, AlreadyGranted with the grant that stands, ConstraintViolated for the ID."""
        self._changes.lock()
        if self._tx.first(select(secrets.c.id).where(secrets.c.id == secret_id)) is None:
            raise NotFound("secret", secret_id)
        standing = self.find(secret_id, subject)
        if standing is not None:
            raise AlreadyGranted(standing)
        row = {"id": grant_id, "secret_id": secret_id, "created_at": to_micros(self._tx.now), "created_by": by}
        self._tx.change(grants, insert(grants).values({**row, **rows.subject_columns(subject)}))
        self._changes.append(ChangeKind.SECRET, secret_id)
        return self.get(grant_id)

    def get(self, grant_id: str) -> Grant:
        """Raises NotFound."""
        row = self._tx.first(select(grants).where(grants.c.id == grant_id))
        if row is None:
            raise NotFound("grant", grant_id)
        return rows.grant(row)

    def find(self, secret_id: str, subject: Subject) -> Grant | None:
        """The grant of this secret to this very subject, if there is one."""
        columns = rows.subject_columns(subject)
        same = (grants.c.kind == columns["kind"]) & (grants.c.value == columns["value"])
        row = self._tx.first(select(grants).where(grants.c.secret_id == secret_id, same))
        return None if row is None else rows.grant(row)

    def of(self, secret_id: str) -> tuple[Grant, ...]:
        """All grants of one secret, oldest first."""
        statement = select(grants).where(grants.c.secret_id == secret_id)
        return tuple(map(rows.grant, self._tx.rows(statement.order_by(grants.c.created_at, grants.c.id))))

    def all(self) -> tuple[Grant, ...]:
        """Every grant, oldest first."""
        return tuple(map(rows.grant, self._tx.rows(select(grants).order_by(grants.c.created_at, grants.c.id))))

    def page(
        self,
        *,
        secret_id: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> Page[Grant]:
        """Oldest first unless it is said otherwise, of one secret or of all. Raises InvalidCursor."""
        order = (grants.c.created_at, grants.c.id)
        by = [column.desc() if newest_first else column.asc() for column in order]
        statement = select(grants).order_by(*by).limit(limit + 1)
        if secret_id is not None:
            statement = statement.where(grants.c.secret_id == secret_id)
        if cursor is not None:
            place, after = tuple_(*order), read_cursor(cursor, int, str)
            statement = statement.where(place < after if newest_first else place > after)
        found = self._tx.rows(statement)
        last = found[limit - 1] if len(found) > limit else None
        items = tuple(map(rows.grant, found[:limit]))
        return Page(items, None if last is None else make_cursor(last.created_at, last.id))

    def count(self, secret_id: str | None = None) -> int:
        """How many there are, of one secret or at all."""
        statement = select(func.count()).select_from(grants)
        if secret_id is not None:
            statement = statement.where(grants.c.secret_id == secret_id)
        return int(self._tx.scalar(statement))

    def counts(self, secret_ids: Iterable[str]) -> Mapping[str, int]:
        """How many each of these secrets has, by its ID; who has none is not in it."""
        found: dict[str, int] = {}
        for some in chunks(secret_ids):
            statement = select(grants.c.secret_id, func.count().label("number")).where(grants.c.secret_id.in_(some))
            found |= {row.secret_id: row.number for row in self._tx.rows(statement.group_by(grants.c.secret_id))}
        return found

    def delete(self, grant_id: str) -> Grant:
        """Take it back; returns what stood. Raises NotFound."""
        self._changes.lock()
        standing = self.get(grant_id)
        self._tx.change(grants, delete(grants).where(grants.c.id == grant_id))
        self._changes.append(ChangeKind.SECRET, standing.secret_id)
        return standing
