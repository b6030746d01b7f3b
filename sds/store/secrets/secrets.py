"""Definitions of named secrets, how each stands at its source, and the data key under which its versions lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update

from sds.secrets.secret import Secret, SecretSpec, SecretState
from sds.store.changes import Changes
from sds.store.codec import make_cursor, read_cursor, to_json
from sds.store.errors import Conflict, NameTaken, NotFound
from sds.store.records import ChangeKind, Page
from sds.store.secrets import rows
from sds.store.secrets.records import SecretFilter, WrappedDataKey
from sds.store.secrets.versions import Versions
from sds.store.tables import grants, secret_versions, secrets, storable
from sds.store.times import to_micros
from sds.store.tx import Tx

NO_FILTER = SecretFilter()


class Secrets(Versions):
    """Every change of a definition, a version or a pin tells the feed and needs an audit event; states do neither."""

    __slots__ = ()

    def __init__(self, tx: Tx, changes: Changes) -> None:
        super().__init__(tx, changes)

    def create(self, spec: SecretSpec, secret_id: str, data_key: WrappedDataKey | None = None) -> Secret:
        """A new definition at revision 1. `data_key`: what its versions and leases are sealed under, if any are.

        Raises NameTaken, ConstraintViolated for an ID that is taken.
        """
        self._changes.lock()
        self._check_name(spec.name, secret_id)
        now = to_micros(self._tx.now)
        row = {"id": secret_id, "revision": 1, "pinned": None, "created_at": now, "updated_at": now}
        row |= {**rows.spec_columns(spec), **rows.key_columns(data_key), **rows.state_columns(rows.NEVER_CHECKED)}
        self._tx.change(secrets, insert(secrets).values(row))
        self._tell(secret_id)
        return self.get(secret_id)

    def get(self, secret_id: str) -> Secret:
        """Raises NotFound."""
        return rows.secret(self._row(secret_id))

    def find(self, name: str) -> Secret | None:
        row = self._tx.first(select(secrets).where(secrets.c.name == name))
        return None if row is None else rows.secret(row)

    def all(self) -> tuple[Secret, ...]:
        """Every definition, in order of its name."""
        return tuple(map(rows.secret, self._tx.rows(select(secrets).order_by(secrets.c.name))))

    def page(
        self, *, cursor: str | None = None, limit: int = 100, filters: SecretFilter = NO_FILTER
    ) -> Page[tuple[Secret, SecretState]]:
        """In order of names, each with how it stands at its source. Raises InvalidCursor."""
        name, down = secrets.c.name, filters.last_first
        statement = select(secrets).where(*self._conditions(filters)).order_by(name.desc() if down else name.asc())
        statement = statement.limit(limit + 1)
        if cursor is not None:
            (after,) = read_cursor(cursor, str)
            statement = statement.where(name < after if down else name > after)
        found = self._tx.rows(statement)
        items = tuple((rows.secret(row), rows.state(row)) for row in found[:limit])
        return Page(items, make_cursor(found[limit - 1].name) if len(found) > limit else None)

    def count(self) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(secrets)))

    def update(self, secret_id: str, spec: SecretSpec, if_revision: int | None = None) -> Secret:
        """Replace the spec; an equal one changes nothing and needs no audit event.

        What was known of its state goes with another source. Raises NotFound, NameTaken, Conflict if `if_revision`
        is given and another stands.
        """
        standing = self._lock(secret_id, if_revision)
        if standing.spec == spec:
            return standing
        self._check_name(spec.name, secret_id)
        values = dict(rows.spec_columns(spec))
        if standing.spec.source != spec.source:
            values |= {"pinned": None, **rows.state_columns(rows.NEVER_CHECKED)}
        return self._revise(standing, values)

    def pin(self, secret_id: str, version: int | None, if_revision: int | None = None) -> Secret:
        """Deliver `version` from now on, or the newest again for None; what is so already changes nothing.

        That the source has this version is the caller's to check. Raises NotFound, Conflict.
        """
        standing = self._lock(secret_id, if_revision)
        return standing if standing.pinned == version else self._revise(standing, {"pinned": version})

    def delete(self, secret_id: str, if_revision: int | None = None) -> Secret:
        """Remove and return it, with its grants, its versions and the key that opened them; leases stay to be revoked.

        Raises NotFound, Conflict.
        """
        standing = self._lock(secret_id, if_revision)
        for side in (grants, secret_versions):
            self._tx.note(delete(side).where(side.c.secret_id == secret_id))
        self._tx.change(secrets, delete(secrets).where(secrets.c.id == secret_id))
        self._tell(secret_id)
        return standing

    def state(self, secret_id: str) -> SecretState:
        """How it stood when somebody last looked. Raises NotFound."""
        return rows.state(self._row(secret_id))

    def states(self) -> Mapping[str, SecretState]:
        """Of every secret, by ID."""
        columns = [secrets.c[name] for name in ("id", *rows.state_columns(rows.NEVER_CHECKED))]
        return {row.id: rows.state(row) for row in self._tx.rows(select(*columns))}

    def note_state(self, secret_id: str, state: SecretState) -> None:
        """What was seen at the source; no decision. Does nothing if the secret is gone."""
        statement = update(secrets).where(secrets.c.id == secret_id)
        self._tx.note(statement.values(**rows.state_columns(state)))

    def data_key(self, secret_id: str) -> WrappedDataKey | None:
        """None if nothing of this secret is stored here. Raises NotFound."""
        row = self._row(secret_id)
        if not row.kek_id:
            return None
        return WrappedDataKey(row.kek_id, bytes(row.key_nonce), bytes(row.key_ciphertext))

    def give_data_key(self, secret_id: str, key: WrappedDataKey) -> WrappedDataKey:
        """The key for a secret that had none; returns the one that stands, which another may have given first.

        Needs no event: it protects what is stored later, which does. Raises NotFound.
        """
        chosen = update(secrets).where(secrets.c.id == secret_id, secrets.c.kek_id == "")
        self._tx.note(chosen.values(**rows.key_columns(key)))
        standing = self.data_key(secret_id)
        return key if standing is None else standing

    def rewrap(self, wrap: Callable[[str, WrappedDataKey], WrappedDataKey]) -> int:
        """Put every data key, with its secret's ID, through `wrap`; returns how many changed. All or nothing."""
        self._tx.check_writable()
        self._changes.lock()  # a key that is being made under the former key-encryption key is there when we look
        columns = (secrets.c.id, secrets.c.kek_id, secrets.c.key_nonce, secrets.c.key_ciphertext)
        statement = select(*columns).where(secrets.c.kek_id != "").order_by(secrets.c.id).with_for_update()
        done = 0
        for row in self._tx.rows(statement):
            old = WrappedDataKey(row.kek_id, bytes(row.key_nonce), bytes(row.key_ciphertext))
            new = wrap(row.id, old)
            if new != old:
                chosen = update(secrets).where(secrets.c.id == row.id)
                self._tx.change(secrets, chosen.values(**rows.key_columns(new)))
                done += 1
        return done

    def count_data_keys(self) -> int:
        """Secrets of which something is, or will be, stored here."""
        return int(self._tx.scalar(select(func.count()).select_from(secrets).where(secrets.c.kek_id != "")))

    def kek_ids(self) -> frozenset[str]:
        """The key-encryption keys that are needed to open what is stored."""
        found = self._tx.rows(select(secrets.c.kek_id).where(secrets.c.kek_id != "").distinct())
        return frozenset(row.kek_id for row in found)

    def _row(self, secret_id: str) -> Any:
        row = self._tx.first(select(secrets).where(secrets.c.id == secret_id))
        if row is None:
            raise NotFound("secret", secret_id)
        return row

    def _check_name(self, name: str, secret_id: str) -> None:
        """Under the feed's lock nobody else can take the name before our commit."""
        if self._tx.first(select(secrets.c.id).where(secrets.c.name == name, secrets.c.id != secret_id)) is not None:
            raise NameTaken("secret", name)

    def _lock(self, secret_id: str, if_revision: int | None) -> Secret:
        """The secret as it stands, after all earlier changes of the feed."""
        self._changes.lock()
        standing = self.get(secret_id)
        if if_revision is not None and standing.revision != if_revision:
            raise Conflict(f"secret {standing.name}", standing.revision)
        return standing

    def _revise(self, standing: Secret, values: Mapping[str, Any]) -> Secret:
        values = {**values, "revision": standing.revision + 1, "updated_at": to_micros(self._tx.now)}
        self._tx.change(secrets, update(secrets).where(secrets.c.id == standing.id).values(values))
        self._tell(standing.id)
        return self.get(standing.id)

    def _tell(self, secret_id: str) -> None:
        self._changes.append(ChangeKind.SECRET, secret_id)

    def _conditions(self, filters: SecretFilter) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if filters.prefix:
            found.append(_starts_with(secrets.c.name, filters.prefix))
        if filters.kind is not None:
            found.append(secrets.c.kind == filters.kind.value)
        if filters.backend is not None:
            # The name sorts before all others that a source's text may have.
            found.append(_starts_with(secrets.c.source, to_json({"backend": filters.backend})[:-1]))
        if filters.owner is not None:
            found.append(secrets.c.owner == filters.owner)
        for name, value in filters.labels.items():
            # Behind a brace or a comma a bare quote begins a name: inside a JSON text it would be escaped.
            pair = storable(to_json({name: value})[1:-1])
            found.append(or_(*(self._tx.contains(secrets.c.labels, mark + pair) for mark in "{,")))
        if filters.problem is not None:
            found.append((secrets.c.problem != "") == filters.problem)
        if filters.problem_code is not None:
            found.append(secrets.c.problem_code == filters.problem_code)
        return found


def _starts_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Exactly; LIKE would ignore case on SQLite and needs escapes."""
    start = storable(prefix)
    return func.substr(column, 1, len(start)) == start
