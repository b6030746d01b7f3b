"""Sealed versions of the secrets whose values lie here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from sds.store.changes import Changes
from sds.store.codec import chunks
from sds.store.errors import Conflict, NotFound
from sds.store.records import ChangeKind
from sds.store.secrets import rows
from sds.store.secrets.records import Sealed, StoredVersion, VersionRecord
from sds.store.tables import secret_versions, secrets
from sds.store.times import to_micros, to_micros_or_none
from sds.store.tx import Tx


class Versions:
    """The half of `Secrets` that is about versions."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    def next_version(self, secret_id: str) -> int:
        """The number that a new version must have; nobody else can take it before this transaction ends.

        Numbers are never given twice, for what is sealed under one is bound to it.
        """
        self._changes.lock()
        newest = select(func.max(secret_versions.c.version)).where(secret_versions.c.secret_id == secret_id)
        return int(self._tx.scalar(newest) or 0) + 1

    def put_version(
        self, secret_id: str, sealed: Sealed, not_after: datetime | None = None, by: str = ""
    ) -> VersionRecord:
        """A new version. Raises NotFound, Conflict unless it has the next number: somebody else wrote first."""
        upcoming = self.next_version(secret_id)
        if self._tx.first(select(secrets.c.id).where(secrets.c.id == secret_id)) is None:
            raise NotFound("secret", secret_id)
        if sealed.version != upcoming:
            raise Conflict(f"the value of secret {secret_id}", upcoming - 1)
        row = {
            "secret_id": secret_id,
            "version": sealed.version,
            "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext,
            "created_at": to_micros(self._tx.now),
            "created_by": by,
            "not_after": to_micros_or_none(not_after),
            "destroyed_at": None,
        }
        self._tx.change(secret_versions, insert(secret_versions).values(row))
        self._changes.append(ChangeKind.SECRET, secret_id)
        return self.version(secret_id, sealed.version).record

    def version(self, secret_id: str, version: int) -> StoredVersion:
        """Raises NotFound."""
        row = self._tx.first(select(secret_versions).where(*_chosen(secret_id, version)))
        if row is None:
            raise NotFound("version", str(version))
        return rows.stored_version(row)

    def newest_version(self, secret_id: str) -> StoredVersion | None:
        """The newest that was ever written and is still known, destroyed or not; None before the first."""
        chosen = select(secret_versions).where(secret_versions.c.secret_id == secret_id)
        row = self._tx.first(chosen.order_by(secret_versions.c.version.desc()).limit(1))
        return None if row is None else rows.stored_version(row)

    def newest_versions(self, secret_ids: Iterable[str]) -> Mapping[str, VersionRecord]:
        """The newest of each of these that has one, by its ID, without the values."""
        found: dict[str, VersionRecord] = {}
        for some in chunks(secret_ids):
            ours = secret_versions.c.secret_id.in_(some)
            ranked = select(secret_versions.c.secret_id, func.max(secret_versions.c.version).label("version"))
            newest = ranked.where(ours).group_by(secret_versions.c.secret_id).subquery()
            same = (secret_versions.c.secret_id == newest.c.secret_id) & (secret_versions.c.version == newest.c.version)
            rows_found = self._tx.rows(select(*_KNOWN).join(newest, same))
            found |= {row.secret_id: rows.version_record(row) for row in rows_found}
        return found

    def versions(self, secret_id: str) -> tuple[VersionRecord, ...]:
        """All that are known, newest first, without the values."""
        chosen = select(*_KNOWN).where(secret_versions.c.secret_id == secret_id)
        return tuple(map(rows.version_record, self._tx.rows(chosen.order_by(secret_versions.c.version.desc()))))

    def destroy(self, secret_id: str, version: int) -> VersionRecord:
        """Take its value away for good and keep that it was. Idempotent: the first time stands. Raises NotFound."""
        self._changes.lock()
        chosen = update(secret_versions).where(*_chosen(secret_id, version), secret_versions.c.destroyed_at.is_(None))
        values = {"nonce": b"", "ciphertext": b"", "destroyed_at": to_micros(self._tx.now)}
        if self._tx.note(chosen.values(values)).rowcount:
            self._tx.unaudited.add(secret_versions.name)
            self._changes.append(ChangeKind.SECRET, secret_id)
        return self.version(secret_id, version).record

    def trim_versions(self, secret_id: str, keep: int) -> int:
        """Forget all but the newest `keep` and the pinned one; returns how many went.

        Part of writing a version, whose event speaks for it.
        """
        self._changes.lock()
        pinned = select(secrets.c.pinned).where(secrets.c.id == secret_id).scalar_subquery()
        ours = secret_versions.c.secret_id == secret_id
        oldest = select(secret_versions.c.version).where(ours).order_by(secret_versions.c.version.desc())
        floor = self._tx.scalar(oldest.limit(1).offset(max(keep, 1) - 1))
        if floor is None:
            return 0
        old = (secret_versions.c.version < floor) & (secret_versions.c.version != func.coalesce(pinned, 0))
        return self._tx.note(delete(secret_versions).where(ours, old)).rowcount


_KNOWN = [column for column in secret_versions.c if column.name not in ("nonce", "ciphertext")]


def _chosen(secret_id: str, version: int) -> tuple[ColumnElement[bool], ...]:
    return secret_versions.c.secret_id == secret_id, secret_versions.c.version == version
