"""The random life of embedded secrets, against a model that is a dictionary: nothing comes back but what was put."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from ca.kek import KEK_BYTES, Kek, KeyRing
from ca.masked import Masked
from sds.secrets.errors import SecretError, SecretMissing
from sds.secrets.secret import EmbeddedSource, Secret, SecretKind, SecretSpec
from sds.server.secrets.embedded import EmbeddedBackend
from sds.server.secrets.sealing import Sealer, rewrap_data_keys
from sds.server.secrets.versions import SealedVersions
from sds.store.errors import NameTaken
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.secrets.embedded import TD, new_ring
from tests.contract.store.samples import change

KEEP = 3
STEPS = 120


@dataclass
class Known:
    """What a secret should be. A value of None was destroyed."""

    secret: Secret
    versions: dict[int, bytes | None] = field(default_factory=dict)
    upcoming: int = 1

    def delivered(self) -> bytes | None:
        wanted = self.secret.pinned if self.secret.pinned is not None else max(self.versions, default=0)
        return self.versions.get(wanted)

    def trim(self) -> None:
        for old in sorted(self.versions)[:-KEEP]:
            if old != self.secret.pinned:
                del self.versions[old]


class Life:
    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store = store
        self.chance = chance
        self.ring = new_ring()
        self.numbers = count(1)
        self.known: dict[str, Known] = {}
        self.versions = SealedVersions(Sealer(lambda: self.ring, TD, os.urandom), KEEP)
        self.sealer = Sealer(lambda: self.ring, TD, os.urandom)
        self.backend = EmbeddedBackend(store, self.versions)

    def some(self) -> Known | None:
        return self.chance.choice(list(self.known.values())) if self.known else None

    async def create(self) -> None:
        name, secret_id = f"s{self.chance.randrange(5)}", f"id{next(self.numbers)}"
        spec = SecretSpec(name, SecretKind.GENERIC, EmbeddedSource())
        taken = any(one.secret.name == name for one in self.known.values())
        try:
            made = await change(
                self.store, lambda uow: uow.secrets.create(spec, secret_id, self.sealer.fresh(uow, secret_id))
            )
        except NameTaken:
            assert taken
            return
        assert not taken
        self.known[secret_id] = Known(made)

    async def put(self) -> None:
        if (one := self.some()) is None:
            return
        value = b"%d" % next(self.numbers)
        record = await change(
            self.store, lambda uow: self.versions.write(uow, one.secret.id, {"": Masked(value)}, by="x")
        )
        assert record.version == one.upcoming
        one.versions[one.upcoming] = value
        one.upcoming += 1
        one.trim()

    async def destroy(self) -> None:
        if (one := self.some()) is None or not one.versions:
            return
        version = self.chance.choice(list(one.versions))
        await change(self.store, lambda uow: uow.secrets.destroy(one.secret.id, version))
        one.versions[version] = None

    async def pin(self) -> None:
        if (one := self.some()) is None:
            return
        version = self.chance.choice([None, *one.versions])
        one.secret = await change(self.store, lambda uow: uow.secrets.pin(one.secret.id, version))

    async def delete(self) -> None:
        if (one := self.some()) is None or self.chance.random() < 0.7:
            return
        await change(self.store, lambda uow: uow.secrets.delete(one.secret.id))
        del self.known[one.secret.id]
        with pytest.raises(SecretMissing):
            await self.backend.fetch(one.secret)

    async def rotate(self) -> None:
        ring = self.ring.rotated(Kek.of(Masked(os.urandom(KEK_BYTES))))
        self.ring = ring

        def work(uow: UnitOfWork) -> int:
            return rewrap_data_keys(uow, ring, TD, os.urandom)

        assert await change(self.store, work) == len(self.known)
        self.ring = KeyRing(ring.current)

    async def check(self) -> None:
        told = await self.backend.newest([one.secret for one in self.known.values()])
        for one in self.known.values():
            expected = one.delivered()
            said = told[one.secret.id]
            assert isinstance(said, SecretMissing) is (expected is None)
            try:
                fetched = await self.backend.fetch(one.secret)
            except SecretError as error:
                assert isinstance(error, SecretMissing)
                assert expected is None
            else:
                assert fetched.fields[""].reveal() == expected
                assert fetched.version == said
            listed = await self.backend.versions(replace(one.secret, pinned=None))
            assert {int(info.version): info.state == "live" for info in listed} == {
                version: value is not None for version, value in one.versions.items()
            }


@pytest.mark.parametrize("seed", range(4))
async def test_the_random_life_of_secrets(store: Store, seed: int) -> None:
    life = Life(store, random.Random(seed))
    steps = [life.create, life.put, life.put, life.put, life.destroy, life.pin, life.delete, life.rotate]
    for _ in range(STEPS):
        await life.chance.choice(steps)()
        await life.check()
    assert next(life.numbers) > STEPS / 4
