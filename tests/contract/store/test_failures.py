"""A database that is locked, full, read-only, gone or damaged: typed errors, nothing lost, recovery by itself."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from sds.store.engines import Limits
from sds.store.errors import Reason, StoreError, StoreUnavailable
from sds.store.schema import migrate
from sds.store.store import Store, open_store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.conftest import QUICK
from tests.contract.store.samples import certificate, change, event, spec
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Cluster, PostgresMissing, give_to_server_user, running_cluster
from tests.fakes.small_disk import MountRefused, SmallDisk, small_disk

IMPATIENT = replace(QUICK, lock_timeout=0.2, tries=2)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    try:
        with small_disk("24m") as mounted:
            yield mounted
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")


@pytest.fixture
def own_cluster(disk: SmallDisk) -> Iterator[Cluster]:  # `disk`: it goes away after the server
    """A server that may lose its disk: one that cannot write its pages any more cannot serve other tests either."""
    try:
        with running_cluster(settings={"autovacuum": "off"}) as cluster:
            yield cluster
    except PostgresMissing as missing:
        pytest.skip(str(missing))


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


async def reason_of(store: Store, key: str = "x") -> Reason:
    with pytest.raises(StoreUnavailable) as caught:
        await store.write(lambda unit: unit.settings.put(key, "y" * 100))
    assert "y" * 10 not in str(caught.value) + repr(caught.value)
    return caught.value.reason


async def test_a_database_locked_by_another_process(sqlite_url: str, clock: FakeClock) -> None:
    store = open_store(sqlite_url, clock=clock, limits=IMPATIENT)
    other = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    reasons = await asyncio.gather(*(reason_of(store, str(n)) for n in range(100)))
    assert set(reasons) == {Reason.LOCKED}
    assert (
        time.monotonic() - started < 100 * IMPATIENT.lock_timeout / 2
    )  # those that queued meanwhile do not wait one after the other
    assert await store.read(lambda unit: unit.settings.get("x")) is None  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    await store.write(lambda unit: unit.settings.put("x", "y"))
    await store.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_moved_away_while_in_use(sqlite_url: str, clock: FakeClock, *, replaced: bool) -> None:
    store = open_store(sqlite_url, clock=clock, limits=IMPATIENT)
    await store.write(lambda unit: unit.settings.put("x", "before"))
    path = Path(path_of(sqlite_url))
    away = path.rename(path.with_name("away"))
    if replaced:
        path.write_bytes(away.read_bytes())
    assert set(await asyncio.gather(*(reason_of(store, str(n)) for n in range(5)))) == {Reason.REPLACED}
    with pytest.raises(StoreUnavailable, match="put it back, or restart"):
        await store.read(lambda unit: unit.settings.get("x"))
    assert path.exists() == replaced, "no empty database in its place"
    away.replace(path)
    await store.write(lambda unit: unit.settings.put("x", "after"))
    assert await store.read(lambda unit: unit.settings.get("x")) == "after"
    await store.close()


async def test_a_short_lock_is_waited_for(sqlite_store: Store, sqlite_url: str) -> None:
    other = sqlite3.connect(path_of(sqlite_url), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(sqlite_store.write(lambda unit: unit.settings.put("x", "y")))
    await asyncio.sleep(0.2)
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await writing


async def test_a_table_locked_by_another_session(postgresql_url: str, clock: FakeClock) -> None:
    store = open_store(postgresql_url, clock=clock, limits=IMPATIENT)
    with psycopg.connect(postgresql_url) as other:
        other.execute("LOCK TABLE settings IN EXCLUSIVE MODE")
        assert await reason_of(store) is Reason.LOCKED
        assert await store.read(lambda unit: unit.settings.get("x")) is None
    await store.write(lambda unit: unit.settings.put("x", "y"))
    await store.close()


async def issue(store: Store, first: int, count: int = 100) -> None:
    """What issuance does first: intents and events, all or nothing."""

    def work(unit: UnitOfWork) -> None:
        unit.certificates.add_intents([certificate(f"{first + n:040x}") for n in range(count)])
        unit.audit.append_all(event("certificate.issue", reason="r" * 200) for _ in range(count))

    await store.write(work)


async def check_full_disk(store: Store, disk: SmallDisk) -> None:
    """Issue until it refuses; nothing acknowledged is lost and nothing half done; it goes on when there is space."""
    await issue(store, 0)
    disk.fill()
    acknowledged = 1
    while True:
        try:
            await issue(store, acknowledged * 100)
        except StoreUnavailable as error:
            assert error.reason is Reason.FULL, error
            break
        acknowledged += 1
        assert acknowledged < 1000
    with pytest.raises(StoreUnavailable):
        await issue(store, acknowledged * 100)
    assert await counts(store) == (acknowledged * 100, acknowledged * 100)  # reading goes on, and nothing is half done
    disk.relieve()
    await issue(store, acknowledged * 100)
    assert await counts(store) == ((acknowledged + 1) * 100, (acknowledged + 1) * 100)
    assert (await store.read(lambda unit: unit.audit.tail(None, 1)))[0].event.action == "certificate.issue"


async def counts(store: Store) -> tuple[int, int]:
    def work(unit: UnitOfWork) -> tuple[int, int]:
        return unit.certificates.expiry(unit.now).live, unit.audit.count()

    return await store.read(work)


async def test_a_full_disk_under_sqlite(disk: SmallDisk, clock: FakeClock) -> None:
    url = f"sqlite:///{disk.folder}/data/sds.db"
    migrate(url)
    store = open_store(url, clock=clock, limits=QUICK)
    await check_full_disk(store, disk)
    await store.close()


async def test_a_write_that_fits_succeeds_beside_one_that_does_not(disk: SmallDisk, clock: FakeClock) -> None:
    """Both in one group: the one that breaks the shared transaction must not fail the other."""
    url = f"sqlite:///{disk.folder}/data/sds.db"
    migrate(url)
    store = open_store(url, clock=clock, limits=QUICK)
    huge = "x" * 30_000_000
    results = await asyncio.gather(
        store.write(lambda unit: unit.settings.put("before", "1")),
        store.write(lambda unit: unit.settings.put("huge", huge)),
        store.write(lambda unit: unit.settings.put("after", "1")),
        return_exceptions=True,
    )
    assert results[0] is results[2] is None
    assert isinstance(results[1], StoreUnavailable)
    assert results[1].reason is Reason.FULL
    assert await store.read(lambda unit: [unit.settings.get(k) for k in ("before", "huge", "after")]) == [
        "1",
        None,
        "1",
    ]
    await store.close()


async def test_a_full_disk_under_postgresql(disk: SmallDisk, own_cluster: Cluster, clock: FakeClock) -> None:
    """The tables lie on the small disk, the server's write-ahead log does not."""
    tables = disk.folder / "tables"
    tables.mkdir()
    give_to_server_user(tables)
    own_cluster.execute(f"CREATE TABLESPACE small LOCATION '{tables}'")
    url = own_cluster.new_database("TABLESPACE small")
    migrate(url)
    # A new database's pages have no space on the disk before they are first written. Were the disk filled earlier,
    # whoever had to write one (a checkpoint, or a read that needs a buffer) would fail, and when depends on the speed.
    own_cluster.execute("CHECKPOINT")
    store = open_store(url, clock=clock, limits=QUICK)
    await check_full_disk(store, disk)
    await store.close()


async def test_a_full_disk_under_all_of_postgresql(clock: FakeClock) -> None:
    """The write-ahead log has no space either: the server itself stops, and we recover with it."""
    try:
        with small_disk("96m") as disk:
            home = disk.folder / "pg"
            home.mkdir()
            with running_cluster(
                folder=home, settings={"max_wal_size": "32MB", "min_wal_size": "2MB"}, wal_segment_mb=1
            ) as cluster:
                url = cluster.new_database()
                migrate(url)
                store = open_store(url, clock=clock, limits=QUICK)
                await issue(store, 0)
                disk.fill()
                acknowledged = 1
                with pytest.raises(StoreUnavailable) as caught:
                    while acknowledged < 1000:
                        await issue(store, acknowledged * 100)
                        acknowledged += 1
                assert caught.value.reason in (Reason.FULL, Reason.LOST)
                # An uncertain commit may stand: whoever asked was told so and nothing was signed for it.
                most = acknowledged + caught.value.uncertain
                disk.relieve()
                cluster.ensure_running()
                await issue(store, 100_000)
                certificates, events = await counts(store)
                assert certificates == events
                assert certificates // 100 - 1 in range(acknowledged, most + 1)
                await store.close()
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")


async def test_a_server_that_goes_away_and_comes_back(clock: FakeClock) -> None:
    with running_cluster() as cluster:
        url = cluster.new_database()
        migrate(url)
        store = open_store(url, clock=clock, limits=QUICK)
        await store.write(lambda unit: unit.settings.put("a", "1"))
        cluster.stop(immediately=True)
        assert await reason_of(store) is Reason.LOST
        with pytest.raises(StoreUnavailable):
            await store.read(lambda unit: unit.settings.get("a"))
        with pytest.raises(StoreUnavailable) as caught:
            open_store(url, clock=clock, limits=QUICK)
        assert caught.value.reason is Reason.LOST
        cluster.start()
        await store.write(lambda unit: unit.settings.put("b", "2"))
        assert await store.read(lambda unit: (unit.settings.get("a"), unit.settings.get("b"))) == ("1", "2")
        cluster.stop()
        cluster.start()
        # Every pooled connection is broken now, and nobody outside notices.
        await asyncio.gather(*(store.write(lambda unit: unit.settings.count_up("c")) for _ in range(8)))
        assert await store.read(lambda unit: unit.settings.get("c")) == "8"
        await store.close()


async def test_a_connection_that_breaks_in_the_middle_is_retried(postgresql_store: Store, postgresql_url: str) -> None:
    tries = []

    def work(unit: UnitOfWork) -> None:
        unit.settings.put("x", "y")
        tries.append(1)
        if len(tries) == 1:
            with psycopg.connect(postgresql_url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE state = 'idle in transaction' AND datname = current_database()"
                )
        unit.settings.put("z", "y")

    await postgresql_store.write(work)
    assert len(tries) == 2


async def test_a_standby_or_read_only_database(postgresql_url: str, clock: FakeClock) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{admin.info.dbname}" SET default_transaction_read_only = on')
        store = open_store(postgresql_url, clock=clock, limits=QUICK)
        assert await reason_of(store) is Reason.READ_ONLY
        await store.read(lambda unit: unit.settings.get("x"))
        await store.close()


async def test_a_file_that_is_no_database(tmp_path: Path, clock: FakeClock) -> None:
    file = tmp_path / "sds.db"
    file.write_bytes(b"not a database, but long enough to be one" * 100)
    for attempt in (migrate, lambda url: open_store(url, clock=clock)):
        with pytest.raises(StoreUnavailable) as caught:
            attempt(f"sqlite:///{file}")
        assert caught.value.reason is Reason.CORRUPT


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable) as caught:
        migrate(f"sqlite:///{tmp_path}/file/data/sds.db")
    assert caught.value.reason is Reason.IO


async def test_a_statement_that_takes_too_long(postgresql_url: str, clock: FakeClock) -> None:
    store = open_store(postgresql_url, clock=clock, limits=Limits(statement_timeout=0.1, tries=2))

    def slow(unit: UnitOfWork) -> None:
        unit.settings._tx._connection.exec_driver_sql("SELECT pg_sleep(5)")

    with pytest.raises(StoreUnavailable) as caught:
        await store.read(slow)
    assert caught.value.reason is Reason.BUSY
    await store.close()


async def test_no_value_shows_in_any_error(store: Store) -> None:
    """Drivers put values into their texts (DETAIL: Key (id)=(...)); none of that may travel on, not even chained."""
    canary = "canary-7f3a"
    await change(store, lambda unit: unit.entries.create(spec(), canary))
    with pytest.raises(StoreError) as caught:
        await change(store, lambda unit: unit.entries.create(spec("/other"), canary))
    seen: BaseException | None = caught.value
    while seen is not None:
        assert canary not in f"{seen!s}{seen!r}{getattr(seen, '__notes__', '')}"
        seen = seen.__cause__ or seen.__context__
