"""The other side of the embedded backend: the database itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Self, TypeVar

from attestation.spiffe_id import TrustDomain
from ca.kek import KEK_BYTES, Kek, KeyRing
from ca.masked import Masked
from sds.secrets.secret import EmbeddedSource, Secret, SecretKind, SecretSpec
from sds.server.secrets.embedded import EmbeddedBackend
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.versions import SealedVersions
from sds.store.errors import Reason, StoreUnavailable
from sds.store.feed import ChangeFeed
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.secrets.harness import Ability, Harness, World
from tests.contract.store.samples import change

T = TypeVar("T")
TD = TrustDomain("example.org")
KEEP = 5


def new_ring() -> KeyRing:
    return KeyRing(Kek.of(Masked(os.urandom(KEK_BYTES))))


class FailingStore:
    """A store that can be out of reach."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.out_of_reach = False

    async def read(self, work: Callable[[UnitOfWork], T]) -> T:
        self._check()
        return await self.inner.read(work)

    async def write(self, work: Callable[[UnitOfWork], T]) -> T:
        self._check()
        return await self.inner.write(work)

    def feed(self) -> ChangeFeed:
        return self.inner.feed()

    async def close(self) -> None:
        await self.inner.close()

    def _check(self) -> None:
        if self.out_of_reach:
            raise StoreUnavailable(Reason.LOST)


class EmbeddedHarness(Harness):
    name = "embedded"
    abilities = frozenset(
        {
            Ability.PUT,
            Ability.CHANGE,
            Ability.EMPTY,
            Ability.SPOIL,
            Ability.CUT,
            Ability.VERSIONS,
            Ability.SHARED,
        }
    )
    kind = SecretKind.GENERIC

    def __init__(self, world: World) -> None:
        self.store = FailingStore(world.store)
        self.ring = new_ring()
        self.sealer = Sealer(lambda: self.ring, TD, os.urandom)
        self.versions = SealedVersions(self.sealer, KEEP)
        self.backend = EmbeddedBackend(self.store, self.versions)
        self._ids = count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, world: World) -> AsyncIterator[Self]:
        yield cls(world)

    async def define(self, name: str = "s") -> Secret:
        spec = SecretSpec(name, self.kind, EmbeddedSource())
        secret_id = f"id-{next(self._ids)}"
        return await change(
            self.store.inner,
            lambda uow: uow.secrets.create(spec, secret_id, self.sealer.fresh(uow, secret_id)),
        )

    async def put(self, secret: Secret, fields: Mapping[str, bytes]) -> None:
        masked = {name: Masked(value) for name, value in fields.items()}
        await change(self.store.inner, lambda uow: self.versions.write(uow, secret.id, masked, by="uid:0"))

    async def spoil(self, secret: Secret) -> None:
        await self.put(secret, {"": b"not\0fit"})

    async def delete(self, secret: Secret) -> None:
        def work(uow: UnitOfWork) -> None:
            for record in uow.secrets.versions(secret.id):
                uow.secrets.destroy(secret.id, record.version)

        await change(self.store.inner, work)

    async def destroy(self, secret: Secret, version: str) -> None:
        await change(self.store.inner, lambda uow: uow.secrets.destroy(secret.id, int(version)))

    async def cut(self) -> None:
        self.store.out_of_reach = True

    async def mend(self) -> None:
        self.store.out_of_reach = False
