"""The key file and the database together: no step of a rotation, and no mix-up of files, loses a key unnoticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from attestation.spiffe_id import TrustDomain
from ca.kek import KeyRing
from ca.keys import KeyType
from sds.server.authority.custody import Custody, open_custody
from sds.server.authority.kek_file import KekFile, KekUnusable
from sds.server.events import Events, system_actor
from sds.store.errors import StoreUnavailable
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork

TD = TrustDomain("example.org")


class Crash(Exception):
    """Stands for the end of the process."""


class FragileFile(KekFile):
    """Crashes before or after the n-th replacement."""

    def __init__(self, path: Path, *, at: int, before: bool) -> None:
        super().__init__(path, os.urandom)
        self.left = at
        self.before = before

    def replace(self, ring: KeyRing) -> None:
        self.left -= 1
        if self.left == 0 and self.before:
            raise Crash
        super().replace(ring)
        if self.left == 0:
            raise Crash


class FragileStore:
    """A store whose next write crashes before or after it is done."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.crash: str | None = None
        self.read = inner.read
        self.feed = inner.feed
        self.close = inner.close

    async def write(self, work: Callable[[UnitOfWork], object]) -> object:
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        value = await self.inner.write(work)
        if crash == "after":
            raise Crash
        return value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kek"


async def opened(store: Store, path: Path, events: Events) -> Custody:
    return await open_custody(store, KekFile(path, os.urandom), TD, events, os.urandom)


async def kek_ids(store: Store) -> set[str]:
    return {key.kek_id for key in await store.read(lambda uow: uow.keys.all())}


async def test_the_first_start_makes_the_file_and_the_next_one_opens_it(
    store: Store, path: Path, events: Events
) -> None:
    first = await opened(store, path, events)
    key = await first.manager.generate(KeyType.ECDSA_P256, "x509")
    second = await opened(store, path, events)
    assert (await second.manager.signer(key.ref)).public_key == key.signer.public_key
    assert [e.event.action for e in await store.read(lambda uow: uow.audit.tail(None))] == ["key.create"]


async def test_a_lost_file_is_refused_while_keys_depend_on_it(store: Store, path: Path, events: Events) -> None:
    custody = await opened(store, path, events)
    path.unlink()
    await opened(store, path, events)  # nothing was wrapped yet: a new one may be made
    custody = await opened(store, path, events)
    await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    path.unlink()
    with pytest.raises(KekUnusable, match=r"is gone.*restore it"):
        await opened(store, path, events)
    assert not path.exists()


async def test_a_wrong_file_is_refused(store: Store, path: Path, events: Events) -> None:
    custody = await opened(store, path, events)
    await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    held = custody.manager.ring.current.id
    path.unlink()
    wrong = KekFile(path, os.urandom).create()
    with pytest.raises(KekUnusable, match=rf"holds .*{wrong.current.id}.*wrapped by {held}"):
        await opened(store, path, events)


async def test_rotating(store: Store, path: Path, events: Events) -> None:
    custody = await opened(store, path, events)
    keys = [await custody.manager.generate(KeyType.ECDSA_P256, "x509") for _ in range(3)]
    first_text = path.read_text()
    old, new, count = await custody.rotate(system_actor(), "request-1")
    assert (old != new, count) == (True, 3)
    assert await kek_ids(store) == {new}
    assert path.read_text() != first_text
    assert len([line for line in path.read_text().splitlines() if not line.startswith("#")]) == 1
    again = await opened(store, path, events)
    for key in keys:
        assert (await again.manager.signer(key.ref)).public_key == key.signer.public_key
    later = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    assert (await (await opened(store, path, events)).manager.signer(later.ref)).public_key == later.signer.public_key
    event = (await store.read(lambda uow: uow.audit.tail(None)))[-2].event
    assert (event.action, event.request_id, event.details["rewrapped"]) == ("kek.rotate", "request-1", 3)


@pytest.mark.parametrize(("at", "before"), [(1, True), (1, False), (2, True), (2, False)], ids=["1-", "1+", "2-", "2+"])
async def test_a_crash_around_the_file(store: Store, path: Path, events: Events, *, at: int, before: bool) -> None:
    custody = await open_custody(store, FragileFile(path, at=at, before=before), TD, events, os.urandom)
    key = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    with pytest.raises(Crash):
        await custody.rotate(system_actor(), "")
    await check_recovers(store, path, events, key.ref)


@pytest.mark.parametrize("crash", ["before", "after"])
async def test_a_crash_around_the_transaction(store: Store, path: Path, events: Events, crash: str) -> None:
    fragile = FragileStore(store)
    custody = await open_custody(fragile, KekFile(path, os.urandom), TD, events, os.urandom)  # type: ignore[arg-type]
    key = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    fragile.crash = crash
    with pytest.raises(Crash):
        await custody.rotate(system_actor(), "")
    await check_recovers(store, path, events, key.ref)


async def check_recovers(store: Store, path: Path, events: Events, ref: str) -> None:
    """The next start opens the key, finishes what was begun, and leaves one key in the file."""
    custody = await opened(store, path, events)
    await custody.manager.signer(ref)
    assert await kek_ids(store) == {custody.manager.ring.current.id}
    assert custody.manager.ring.previous == ()
    old, new, count = await custody.rotate(system_actor(), "")
    assert (old != new, count) == (True, 1)
    assert await kek_ids(store) == {new}


async def test_a_rotation_that_could_not_be_finished_is_finished_by_the_next(
    store: Store, path: Path, events: Events
) -> None:
    fragile = FragileStore(store)
    custody = await open_custody(fragile, KekFile(path, os.urandom), TD, events, os.urandom)  # type: ignore[arg-type]
    key = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    fragile.crash = "before"
    with pytest.raises(Crash):
        await custody.rotate(system_actor(), "")
    during = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    await custody.rotate(system_actor(), "")
    assert custody.manager.ring.previous == ()
    again = await opened(store, path, events)
    for made in (key, during):
        assert (await again.manager.signer(made.ref)).public_key == made.signer.public_key


async def test_a_store_that_is_down_leaves_keys_that_open(store: Store, path: Path, events: Events) -> None:
    custody = await opened(store, path, events)
    key = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    await store.close()
    with pytest.raises(StoreUnavailable):
        await custody.rotate(system_actor(), "")
    await custody.manager.signer(key.ref)
    assert len([line for line in path.read_text().splitlines() if not line.startswith("#")]) == 2
