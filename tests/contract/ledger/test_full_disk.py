"""A disk without space: nothing is decided, the log stays whole, and it goes on by itself when there is space again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sds.server.audit.verifier import DatabaseVerifier
from sds.store.errors import Reason, StoreUnavailable
from sds.store.schema import migrate
from sds.store.store import open_store
from tests.contract.conftest import QUICK
from tests.contract.ledger.conftest import Log
from tests.fakes.clock import FakeClock
from tests.fakes.small_disk import MountRefused, SmallDisk, small_disk


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    try:
        with small_disk("24m") as mounted:
            yield mounted
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")


async def test_the_log_on_a_full_disk(disk: SmallDisk, clock: FakeClock) -> None:
    url = f"sqlite:///{disk.folder}/data/sds.db"
    migrate(url)
    store = open_store(url, clock=clock, limits=QUICK)
    try:
        log = Log(store, clock)
        await log.grow(50)
        disk.fill()
        acknowledged = await _until_full(log)
        with pytest.raises(StoreUnavailable) as full:
            await log.append(100)
        assert full.value.reason is Reason.FULL
        assert "free some" in str(full.value)
        with pytest.raises(StoreUnavailable):
            for _ in range(50):  # a page or two may still fit
                await log.sequencer.tick()
                await log.append(100)
        assert (await DatabaseVerifier(store, log.keys).verify()).ok
        disk.relieve()
        await log.grow(1)
        verdict = await DatabaseVerifier(store, log.keys).verify()
        assert verdict.ok, verdict.findings.problems
        assert verdict.events == await store.read(lambda uow: uow.audit.count())
        assert verdict.events >= 50 + 100 * acknowledged
    finally:
        await store.close()


async def _until_full(log: Log) -> int:
    for done in range(1000):
        try:
            await log.append(100)
        except StoreUnavailable as error:
            assert error.reason is Reason.FULL
            return done
    raise AssertionError("the disk never was full")
