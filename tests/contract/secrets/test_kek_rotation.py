"""Rotating the key-encryption key while secrets are written and read: none is lost, none is out of reach meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from attestation.spiffe_id import TrustDomain
from ca.kek import KeyRing
from ca.masked import Masked
from sds.secrets.errors import SecretUnavailable
from sds.secrets.secret import EmbeddedSource, Secret, SecretKind, SecretSpec
from sds.server.authority.custody import Custody, open_custody
from sds.server.authority.kek_file import KekFile, KekUnusable
from sds.server.events import Events, system_actor
from sds.server.secrets.embedded import EmbeddedBackend
from sds.server.secrets.sealing import Sealer, data_kek_ids
from sds.server.secrets.versions import SealedVersions
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import change

TD = TrustDomain("example.org")


class Replica:
    """One server's custody and what seals with it."""

    def __init__(self, store: Store, custody: Custody) -> None:
        self.store = store
        self.custody = custody
        self.sealer = Sealer(lambda: custody.manager.ring, TD, os.urandom)
        self.versions = SealedVersions(self.sealer, 1000)
        self.backend = EmbeddedBackend(store, self.versions, custody.learn)

    @classmethod
    async def start(cls, store: Store, path: Path) -> Replica:
        events = Events("test-host")
        return cls(store, await open_custody(store, KekFile(path, os.urandom), TD, events, os.urandom))

    async def create(self, name: str) -> Secret:
        spec = SecretSpec(name, SecretKind.GENERIC, EmbeddedSource())

        def work(uow: UnitOfWork) -> Secret:
            created = uow.secrets.create(spec, name, self.sealer.fresh(uow, name))
            self.versions.write(uow, name, {"": Masked(name.encode())}, by="uid:0")
            return created

        return await change(self.store, work)

    async def add_master(self, epoch: int) -> None:
        def work(uow: UnitOfWork) -> None:
            uow.changes.lock()
            uow.ticket_masters.add(epoch, self.sealer.seal_master(epoch, Masked(b"master %d" % epoch)))

        await change(self.store, work)

    async def rotate(self) -> int:
        _, _, count = await self.custody.rotate(system_actor(), "request-1")
        return count

    async def opens_all(self) -> None:
        for secret in await self.store.read(lambda uow: uow.secrets.all()):
            fetched = await self.backend.fetch(secret)
            assert fetched.fields[""].reveal() == secret.name.encode()
        for master in await self.store.read(lambda uow: uow.ticket_masters.all()):
            assert self.sealer.open_master(master.epoch, master.key).reveal() == b"master %d" % master.epoch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kek"


@pytest.fixture
async def replica(store: Store, path: Path) -> AsyncIterator[Replica]:
    yield await Replica.start(store, path)


async def keks(store: Store) -> frozenset[str]:
    return await store.read(data_kek_ids)


async def test_a_rotation_wraps_data_keys_and_masters_anew(store: Store, replica: Replica, path: Path) -> None:
    for number in range(5):
        await replica.create(f"s{number}")
    await replica.add_master(1)
    before = await store.read(lambda uow: uow.secrets.version("s0", 1))
    assert await replica.rotate() == 6
    assert await keks(store) == {replica.custody.manager.ring.current.id}
    assert replica.custody.manager.ring.previous == ()
    assert await store.read(lambda uow: uow.secrets.version("s0", 1)) == before  # what they protect stays as it is
    await replica.opens_all()
    await (await Replica.start(store, path)).opens_all()
    assert await replica.rotate() == 6
    await replica.opens_all()


async def test_nothing_is_lost_or_out_of_reach_while_it_goes_on(store: Store, replica: Replica) -> None:
    first = await replica.create("first")
    going = True

    async def writer(which: int) -> int:
        made = 0
        while going:
            await replica.create(f"w{which}-{made}")
            await replica.add_master(which * 1000 + made)
            made += 1
        return made

    async def reader() -> int:
        reads = 0
        while going:
            assert (await replica.backend.fetch(first)).fields[""].reveal() == b"first"
            reads += 1
        return reads

    tasks = [asyncio.create_task(one) for one in (writer(1), writer(2), reader())]
    for _ in range(4):
        await replica.rotate()
        await asyncio.sleep(0.05)
    going = False
    counts = await asyncio.gather(*tasks)
    assert all(counts)
    await replica.rotate()
    assert await keks(store) == {replica.custody.manager.ring.current.id}
    await replica.opens_all()


async def test_without_its_file_a_server_with_secrets_does_not_start(
    store: Store, replica: Replica, path: Path, tmp_path: Path
) -> None:
    await replica.create("s")
    with pytest.raises(KekUnusable, match="secrets"):
        await Replica.start(store, tmp_path / "other")
    other = KekFile(tmp_path / "wrong", os.urandom)
    other.create()
    with pytest.raises(KekUnusable, match="secrets"):
        await Replica.start(store, tmp_path / "wrong")
    path.unlink()
    with pytest.raises(KekUnusable, match="secrets"):
        await Replica.start(store, path)


async def test_a_replica_whose_file_is_from_before_wraps_nothing(
    store: Store, replica: Replica, path: Path, tmp_path: Path
) -> None:
    await replica.create("s")
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    late = await Replica.start(store, copy)
    await replica.rotate()
    with pytest.raises(SecretUnavailable, match="copy the file"):
        await late.create("t")
    secret = await store.read(lambda uow: uow.secrets.get("s"))
    with pytest.raises(SecretUnavailable, match="does not open"):
        await late.backend.fetch(secret)
    await late.custody.check()  # its own file is as it was
    copy.write_bytes(path.read_bytes())
    await late.custody.check()  # and now it is that of the one that rotated: no restart is needed
    await late.create("t")
    await late.opens_all()
    await replica.opens_all()


async def test_a_foreign_file_is_not_taken_for_a_copied_one(store: Store, replica: Replica, path: Path) -> None:
    ours = path.read_bytes()
    for names in ((), ("s",)):  # also while nothing is wrapped by it yet
        for name in names:
            await replica.create(name)
        path.unlink()
        KekFile(path, os.urandom).create()
        with pytest.raises(KekUnusable, match="another key-encryption key"):
            await replica.custody.check()
        path.unlink()
        path.write_bytes(ours)
        path.chmod(0o600)
        await replica.custody.check()
    await replica.opens_all()


async def test_a_missing_key_is_learned_and_what_is_waited_for_opens(store: Store, replica: Replica) -> None:
    """Where replicas share a ring, the first read after another one's rotation fetches it."""
    secret = await replica.create("s")
    ring: list[KeyRing] = [replica.custody.manager.ring]
    await replica.rotate()
    asked: list[str] = []

    async def learn(kek_id: str) -> None:
        asked.append(kek_id)
        ring[0] = replica.custody.manager.ring

    behind = EmbeddedBackend(store, SealedVersions(Sealer(lambda: ring[0], TD, os.urandom), 5), learn)
    assert (await behind.fetch(secret)).fields[""].reveal() == b"s"
    assert asked == [replica.custody.manager.ring.current.id]
