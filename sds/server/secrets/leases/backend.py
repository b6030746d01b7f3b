"""The backend `database`: what a receiver is sent comes from its lease, which is made when it is first asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence

from attestation.spiffe_id import SpiffeId
from ca.errors import CaError
from ca.masked import Masked
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretError, SecretMalformed, SecretMissing, SecretUnavailable
from sds.secrets.leasing.lease import Lease, LeaseState, Receiver
from sds.secrets.secret import DatabaseSource, Secret, VersionInfo
from sds.server.secrets.leases.maker import LeaseMaker
from sds.server.secrets.leases.parts import LeaseParts, lease_place, of_source
from sds.server.secrets.leases.users import Users
from sds.server.secrets.sealing import Box
from sds.store.errors import NotFound, StoreError
from sds.store.unit_of_work import UnitOfWork

_LOOK = 0.2  # seconds between two looks at what another replica is making


class DatabaseBackend:
    """Implements SecretBackend. The lease is shared by all streams, agents and replicas that serve the receiver.

    A value has no end of its own: leases are renewed, and replaced before they end.
    """

    name = "database"
    per_identity = True

    def __init__(self, parts: LeaseParts, maker: LeaseMaker, users: Users, wake: Callable[[], None]) -> None:
        """`wake` is called when something may have become due."""
        self._parts = parts
        self._maker = maker
        self._users = users
        self._wake = wake
        self._locks: dict[Receiver, asyncio.Lock] = {}
        self._making: set[asyncio.Task[bool]] = set()

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        if receiver is None:
            raise SecretUnavailable("dynamic credentials belong to an identity")
        if not isinstance(secret.spec.source, DatabaseSource):
            raise SecretUnavailable("its source is no database engine")
        whose = Receiver(secret.id, receiver)
        lock = self._locks.setdefault(whose, asyncio.Lock())
        try:
            async with lock:
                return await self._fetch(secret, whose)
        except (StoreError, CaError) as error:
            raise SecretUnavailable(str(error)) from error

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        """Nothing: each receiver has another."""
        del secrets
        return {}

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        try:
            leases = await self._parts.store.read(lambda uow: uow.leases.of_secret(secret.id))
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error
        return tuple(
            VersionInfo(lease.id, lease.created_at, str(lease.receiver.spiffe_id), _shown(lease)) for lease in leases
        )

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        if receiver is None:
            return
        whose = Receiver(secret.id, receiver)
        lock = self._locks.setdefault(whose, asyncio.Lock())
        try:
            async with lock:
                await self._users.release(whose)
        except StoreError as error:
            raise SecretUnavailable(str(error)) from error
        finally:
            self._locks.pop(whose, None)
            self._wake()

    async def _fetch(self, secret: Secret, receiver: Receiver) -> Fetched:
        """Raises SecretError, StoreError."""
        await self._users.use(receiver)
        parts, until = self._parts, self._parts.clock.monotonic() + self._parts.limits.patience
        made = False
        while True:
            found = await parts.knowing(lambda: parts.store.read(lambda uow: self._read(uow, secret, receiver)))
            if found is not None:
                return found
            if made:
                raise SecretUnavailable("the credentials had ended before they could be used")
            if parts.clock.monotonic() >= until:
                raise SecretUnavailable("another server has begun to make the credentials and is not done yet")
            made = await self._make(secret, receiver)
            if made:
                self._wake()
            else:
                await asyncio.sleep(_LOOK)

    async def _make(self, secret: Secret, receiver: Receiver) -> bool:
        """Whether there is one now; else somebody else makes it. Goes on if the caller gives up, for it has begun.

        Raises SecretError, StoreError.
        """
        making = asyncio.create_task(self._maker.make(secret, receiver), name="making of a lease")
        self._making.add(making)
        making.add_done_callback(self._forget)
        return await asyncio.shield(making)

    def _forget(self, making: asyncio.Task[bool]) -> None:
        self._making.discard(making)
        if not making.cancelled():
            making.exception()  # told to the caller, if there still is one, and to the observer

    def _read(self, uow: UnitOfWork, secret: Secret, receiver: Receiver) -> Fetched | None:
        """The newest lease that is good. Raises SecretError."""
        for lease in uow.leases.of(receiver):
            if not lease.usable(uow.now) or not of_source(lease, secret.spec.source):
                continue
            sealed = uow.leases.credentials(lease)
            if sealed is not None:
                box = Box(sealed.nonce, sealed.ciphertext)
                return Fetched(lease.id, self._open(uow, lease, box), changed_at=lease.created_at)
        return None

    def _open(self, uow: UnitOfWork, lease: Lease, box: Box) -> Mapping[str, Masked[bytes]]:
        secret_id = lease.receiver.secret_id
        try:
            key = uow.secrets.data_key(secret_id)
        except NotFound as gone:
            raise SecretMissing("the secret was deleted") from gone
        if key is None:
            raise SecretMalformed("the data key of its credentials is gone")
        plain = self._parts.sealer.open(secret_id, key, lease_place(lease), box)
        return {name: Masked(value.encode()) for name, value in json.loads(plain.reveal()).items()}


def _shown(lease: Lease) -> str:
    return "live" if lease.state is LeaseState.LIVE else "deleted"
