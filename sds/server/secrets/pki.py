"""The backend `pki`: one certificate a secret, issued by Vault and kept here, sealed, so that all replicas share it.

It is replaced after two thirds of its life by whichever replica has somebody who wants it; of several that do so at
once one stores its certificate, and the others use that.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.audit.event import Target
from sds.clock import Clock
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretError, SecretMalformed, SecretMissing, SecretUnavailable
from sds.secrets.secret import PkiSource, Secret, VersionInfo
from sds.server.events import Events, rfc3339, system_actor
from sds.server.secrets.versions import OpenedVersion, SealedVersions
from sds.server.transactions import Transactions
from sds.store.errors import Conflict, NotFound, StoreError
from sds.store.unit_of_work import UnitOfWork
from sds.vault.pki import Issued

RENEW_AT = 2 / 3
SPREAD = 1 / 20
"""Of its life a certificate is replaced up to this much earlier, so that replicas seldom do so at once."""
_MADE_FOR = "made_for"
"""The field beside chain and key that says what was asked for: a changed definition has another certificate issued."""


class Issuer(Protocol):
    """sds.vault.pki.PkiEngine."""

    async def issue(self, source: PkiSource) -> Issued:
        """Raises SecretError."""
        ...


def renewal(created_at: datetime, not_after: datetime, jitter: float) -> datetime:
    """When a certificate is to be replaced. Pure."""
    life = max(not_after - created_at, timedelta(0))
    return created_at + life * (RENEW_AT - SPREAD * jitter)


class PkiBackend:
    """Implements sds.secrets.backend.SecretBackend."""

    name = "pki"
    per_identity = False

    def __init__(
        self, store: Transactions, versions: SealedVersions, issuer: Issuer, events: Events, clock: Clock
    ) -> None:
        self._store = store
        self._versions = versions
        self._issuer = issuer
        self._events = events
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._given: dict[str, tuple[str, datetime]] = {}

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        """The certificate that stands, or a new one where it is time for that.

        If a new one cannot be had, one that is good still is given to who has not got it yet; who has is told why.
        """
        del receiver  # one certificate serves all
        async with self._locks.setdefault(secret.id, asyncio.Lock()):
            standing = await self._standing(secret)
            if standing is not None and self._clock.now() < self._due(secret, standing):
                return self._give(secret, standing)
            try:
                return self._give(secret, await self._replace(secret, standing))
            except SecretError:
                if standing is None or self._ended(standing) or self._was_given(secret, standing):
                    raise
                return self._give(secret, standing)

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        """What stands; a new one is made by `fetch` alone."""

        def work(uow: UnitOfWork) -> dict[str, str | SecretError]:
            known = uow.secrets.newest_versions(secret.id for secret in secrets)
            return {key: str(record.version) for key, record in known.items() if record.live}

        try:
            return await self._store.read(work)
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        try:
            found = await self._store.read(lambda uow: uow.secrets.versions(secret.id))
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error
        return tuple(
            VersionInfo(str(one.version), one.created_at, one.created_by, "live" if one.live else "destroyed")
            for one in found
        )

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        """It stays for others, and ends by itself."""
        del receiver
        self._given.pop(secret.id, None)

    def due(self, secret: Secret, now: datetime) -> bool:
        """Whether what was given out here last should be replaced."""
        given = self._given.get(secret.id)
        return given is not None and now >= given[1]

    async def _standing(self, secret: Secret) -> OpenedVersion | None:
        """The newest, if it was made for this definition. Raises SecretError."""
        try:
            found = await self._store.read(lambda uow: self._versions.newest(uow, secret.id))
        except SecretMissing:  # it was destroyed
            return None
        except NotFound:
            raise SecretMissing("the secret has been deleted") from None
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error
        if found is None or _MADE_FOR not in found.fields:
            return None
        return found if found.fields[_MADE_FOR].reveal() == _meaning(_source(secret)) else None

    async def _replace(self, secret: Secret, standing: OpenedVersion | None) -> OpenedVersion:
        """A new certificate, or the one that another replica has stored meanwhile. Raises SecretError."""
        newest = await self._newest_number(secret)
        issued = await self._issuer.issue(_source(secret))
        try:
            await self._store.write(lambda uow: self._keep(uow, secret, issued, newest))
        except Conflict:
            pass
        except NotFound:
            raise SecretMissing("the secret has been deleted") from None
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error
        found = await self._standing(secret)
        if found is None or (standing is not None and found.record.version == standing.record.version):
            raise SecretUnavailable("its definition has just changed; trying again")
        return found

    async def _newest_number(self, secret: Secret) -> int:
        def work(uow: UnitOfWork) -> int:
            newest = uow.secrets.newest_versions([secret.id]).get(secret.id)
            return 0 if newest is None else newest.version

        try:
            return await self._store.read(work)
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error

    def _keep(self, uow: UnitOfWork, secret: Secret, issued: Issued, newest: int) -> None:
        fields = {
            "chain": issued.chain,
            "private_key": issued.private_key,
            _MADE_FOR: Masked(_meaning(_source(secret))),
        }
        actor = system_actor()
        record = self._versions.write(
            uow, secret.id, fields, by=actor.id, not_after=issued.not_after, if_version=newest
        )
        details = {
            "name": secret.name,
            "version": str(record.version),
            "serial": issued.serial,
            "not_after": rfc3339(issued.not_after),
        }
        uow.audit.append(
            self._events.make(uow.now, "secret.rotate", actor, Target("secret", secret.id), details=details)
        )

    def _give(self, secret: Secret, opened: OpenedVersion) -> Fetched:
        record = opened.record
        number = str(record.version)
        self._given[secret.id] = (number, self._due(secret, opened))
        fields = {name: value for name, value in opened.fields.items() if name != _MADE_FOR}
        return Fetched(number, fields, record.created_at, record.not_after)

    def _due(self, secret: Secret, opened: OpenedVersion) -> datetime:
        """Drawn once for each certificate."""
        number, due = self._given.get(secret.id, ("", None))
        if due is not None and number == str(opened.record.version):
            return due
        record = opened.record
        if record.not_after is None:
            raise SecretMalformed("the stored certificate has no end")
        return renewal(record.created_at, record.not_after, self._clock.jitter())

    def _ended(self, opened: OpenedVersion) -> bool:
        not_after = opened.record.not_after
        return not_after is None or self._clock.now() >= not_after

    def _was_given(self, secret: Secret, opened: OpenedVersion) -> bool:
        return self._given.get(secret.id, ("", None))[0] == str(opened.record.version)


def _source(secret: Secret) -> PkiSource:
    source = secret.spec.source
    if not isinstance(source, PkiSource):
        raise SecretUnavailable("its source is no PKI engine")
    return source


def _meaning(source: PkiSource) -> bytes:
    """What was asked for, as few bytes."""
    text = json.dumps({name: str(value) for name, value in asdict(source).items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest().encode()
