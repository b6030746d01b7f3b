"""Values that lie here: written and read within a transaction of the caller's, who says why in its audit event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ca.masked import Masked
from sds.secrets.errors import SecretMissing
from sds.secrets.payload import decode_fields, encode_fields
from sds.server.secrets.sealing import Box, Sealer, version_place
from sds.store.errors import Conflict, NotFound
from sds.store.secrets.records import Sealed, StoredVersion, VersionRecord
from sds.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, eq=False)
class OpenedVersion:
    """A version and its fields, in clear."""

    record: VersionRecord
    fields: Mapping[str, Masked[bytes]] = field(repr=False)


class SealedVersions:
    """Each version under the data key of its secret; `keep` of them, and the pinned one."""

    def __init__(self, sealer: Sealer, keep: int) -> None:
        self._sealer = sealer
        self._keep = keep

    def write(
        self,
        uow: UnitOfWork,
        secret_id: str,
        fields: Mapping[str, Masked[bytes]],
        *,
        by: str,
        not_after: datetime | None = None,
        if_version: int | None = None,
    ) -> VersionRecord:
        """The next version. `if_version`: only if this is the newest now, 0 for none.

        Raises NotFound, Conflict, SecretUnavailable if the data key does not open.
        """
        upcoming = uow.secrets.next_version(secret_id)
        if if_version is not None and if_version != upcoming - 1:
            raise Conflict(f"the value of secret {secret_id}", upcoming - 1)
        key = self._sealer.data_key(uow, secret_id)
        box = self._sealer.seal(secret_id, key, version_place(upcoming), encode_fields(fields))
        record = uow.secrets.put_version(secret_id, Sealed(upcoming, box.nonce, box.ciphertext), not_after, by)
        uow.secrets.trim_versions(secret_id, self._keep)
        return record

    def newest(self, uow: UnitOfWork, secret_id: str) -> OpenedVersion | None:
        """None before the first. Raises SecretMissing for a destroyed one; SecretMalformed, SecretUnavailable."""
        stored = uow.secrets.newest_version(secret_id)
        return None if stored is None else self._open(uow, stored)

    def at(self, uow: UnitOfWork, secret_id: str, version: int) -> OpenedVersion:
        """Raises SecretMissing for one that is not kept or was destroyed; SecretMalformed, SecretUnavailable."""
        try:
            return self._open(uow, uow.secrets.version(secret_id, version))
        except NotFound:
            raise not_kept(version) from None

    def _open(self, uow: UnitOfWork, stored: StoredVersion) -> OpenedVersion:
        record = stored.record
        if not record.live:
            raise destroyed(record)
        key = uow.secrets.data_key(record.secret_id)
        if key is None:
            raise SecretMissing("its data key is gone")
        box = Box(stored.sealed.nonce, stored.sealed.ciphertext)
        plain = self._sealer.open(record.secret_id, key, version_place(record.version), box)
        return OpenedVersion(record, decode_fields(plain))


def not_kept(version: int) -> SecretMissing:
    return SecretMissing(f"version {version} is not kept any more")


def destroyed(record: VersionRecord) -> SecretMissing:
    return SecretMissing(f"version {record.version} was destroyed")
