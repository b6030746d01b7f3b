"""The embedded backend: values lie in the database, sealed, and are written with `sds secret put` or made at random."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from attestation.spiffe_id import SpiffeId
from ca.errors import CaError
from ca.masked import Masked
from sds.audit.event import Json, Target
from sds.secrets.ageing import generation_due
from sds.secrets.backend import Fetched
from sds.secrets.errors import InvalidSecret, SecretError, SecretMissing, SecretUnavailable
from sds.secrets.judge import Limits, judge
from sds.secrets.secret import EmbeddedSource, Secret, VersionInfo
from sds.server.events import Events, system_actor
from sds.server.secrets.sealing import UnknownKek
from sds.server.secrets.versions import OpenedVersion, SealedVersions, destroyed, not_kept
from sds.server.transactions import Transactions
from sds.store.errors import NotFound, StoreError
from sds.store.secrets.records import VersionRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")
Learn = Callable[[str], Awaitable[None]]

NAME = "embedded"
_NOTHING = "no value has been put yet"


class EmbeddedBackend:
    """Implements sds.secrets.backend.SecretBackend."""

    name = NAME
    per_identity = False

    def __init__(self, store: Transactions, versions: SealedVersions, learn: Learn | None = None) -> None:
        """`learn` is told of a key-encryption key that is missing: where replicas share a ring, it fetches that."""
        self._store = store
        self._versions = versions
        self._learn = learn

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        del receiver  # one value serves all

        def work(uow: UnitOfWork) -> OpenedVersion | None:
            if secret.pinned is not None:
                return self._versions.at(uow, secret.id, secret.pinned)
            return self._versions.newest(uow, secret.id)

        opened = await self._read(work)
        if opened is None:
            raise SecretMissing(_NOTHING)
        record = opened.record
        return Fetched(str(record.version), opened.fields, record.created_at, record.not_after)

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        def work(uow: UnitOfWork) -> Mapping[str, str | SecretError]:
            known = uow.secrets.newest_versions(secret.id for secret in secrets)
            return {secret.id: self._now(uow, secret, known.get(secret.id)) for secret in secrets}

        return await self._read(work)

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        found = await self._read(lambda uow: uow.secrets.versions(secret.id))
        return tuple(_info(record) for record in found)

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        """Nothing was lent."""
        del secret, receiver

    def _now(self, uow: UnitOfWork, secret: Secret, newest: VersionRecord | None) -> str | SecretError:
        record = newest
        if secret.pinned is not None and (newest is None or newest.version != secret.pinned):
            kept = {one.version: one for one in uow.secrets.versions(secret.id)}
            record = kept.get(secret.pinned)
            if record is None:
                return not_kept(secret.pinned)
        if record is None:
            return SecretMissing(_NOTHING)
        return str(record.version) if record.live else destroyed(record)

    async def _read(self, work: Callable[[UnitOfWork], T]) -> T:
        try:
            try:
                return await self._store.read(work)
            except UnknownKek as unknown:  # another replica has rotated it
                if self._learn is None:
                    raise
                await self._learn(unknown.kek_id)
                return await self._store.read(work)
        except NotFound:
            raise SecretMissing("the secret has been deleted") from None
        except (StoreError, CaError) as error:
            raise SecretUnavailable(str(error)) from error


class EmbeddedValues:
    """What is put by hand, judged before it is written: what could not be sent is not taken."""

    def __init__(self, versions: SealedVersions, limits: Limits) -> None:
        self._versions = versions
        self._limits = limits

    def put(
        self,
        uow: UnitOfWork,
        secret: Secret,
        fields: Mapping[str, Masked[bytes]],
        *,
        by: str,
        if_version: int | None = None,
    ) -> VersionRecord:
        """The next version; the caller says why in its audit event. `if_version`: as `SealedVersions.write`.

        Raises SecretMalformed, which says what is wrong and nothing of the value; InvalidSecret for one whose values
        lie elsewhere; NotFound, Conflict, SecretUnavailable.
        """
        if not isinstance(secret.spec.source, EmbeddedSource):
            raise InvalidSecret("source", "is another one: its values are written there")
        value = judge(secret.spec.kind, Fetched("new", fields), uow.now, self._limits)
        return self._versions.write(uow, secret.id, fields, by=by, not_after=value.not_after, if_version=if_version)


class ValueGenerator:
    """Makes random values where a rotation policy asks for them: base64url without padding, fit for headers."""

    def __init__(
        self,
        store: Transactions,
        versions: SealedVersions,
        events: Events,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`random_bytes` must be fit for secrets (os.urandom)."""
        self._store = store
        self._versions = versions
        self._events = events
        self._random_bytes = random_bytes

    async def generate_due(self, secret: Secret) -> bool:
        """Whether one was made: not if none is due, or another replica was faster. Raises StoreError, SecretError."""
        if await self._store.read(lambda uow: _due(uow, secret.id) is None):
            return False
        return await self._store.write(lambda uow: self._generate(uow, secret.id))

    def _generate(self, uow: UnitOfWork, secret_id: str) -> bool:
        uow.changes.lock()  # of several replicas one sees that it is due
        secret = _due(uow, secret_id)
        if secret is None:
            return False
        raw = self._random_bytes(secret.spec.rotation.generate)
        fields = {"": Masked(base64.urlsafe_b64encode(raw).rstrip(b"="))}
        actor = system_actor()
        record = self._versions.write(uow, secret_id, fields, by=actor.id)
        details: dict[str, Json] = {"name": secret.name, "version": str(record.version), "generated": True}
        uow.audit.append(
            self._events.make(uow.now, "secret.rotate", actor, Target("secret", secret_id), details=details)
        )
        return True


def _due(uow: UnitOfWork, secret_id: str) -> Secret | None:
    """The secret, if a random value of it is to be made now."""
    try:
        secret = uow.secrets.get(secret_id)
    except NotFound:
        return None
    newest = uow.secrets.newest_versions([secret_id]).get(secret_id)
    changed_at = newest.created_at if newest is not None and newest.live else None
    return secret if generation_due(secret, changed_at, uow.now) else None


def _info(record: VersionRecord) -> VersionInfo:
    state = "live" if record.live else "destroyed"
    return VersionInfo(str(record.version), record.created_at, record.created_by, state)
