"""Units of work: all or nothing, fail closed, retried, cancelled, closed."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path

import psycopg
import pytest

from attestation.spiffe_id import TrustDomain
from ca.revocation import Reason as RevocationReason
from sds.store.errors import ConstraintViolated, Reason, StoreError, StoreUnavailable, UnauditedChange
from sds.store.store import Store, open_store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.conftest import QUICK
from tests.contract.store import access_methods, secret_methods
from tests.contract.store.samples import (
    AGENT,
    agent,
    authority,
    certificate,
    change,
    event,
    later,
    spec,
    stream,
    wrapped_key,
)
from tests.contract.store.test_federations import OTHER, SPIFFE, WEB, bundle
from tests.contract.store.test_revocation import AUTHORITY, block, crl, revocation
from tests.fakes.clock import EPOCH, FakeClock

AUDITED = {
    "entries.create": lambda unit: unit.entries.create(spec("/new"), "new"),
    "entries.update": lambda unit: unit.entries.update("e1", spec(hint="x")),
    "entries.delete": lambda unit: unit.entries.delete("e1"),
    "agents.upsert": lambda unit: unit.agents.upsert(agent(serial="0b")),
    "agents.ban": lambda unit: unit.agents.ban(AGENT, "x"),
    "agents.delete": lambda unit: unit.agents.delete(AGENT),
    "tokens.create": lambda unit: unit.tokens.create("cd", AGENT, later(9)),
    "tokens.consume": lambda unit: unit.tokens.consume("ab", EPOCH),
    "authorities.add": lambda unit: unit.authorities.add(authority("bb")),
    "authorities.compare_and_swap": lambda unit: unit.authorities.compare_and_swap(
        authority("aa"), authority("aa").activated(EPOCH)
    ),
    "authorities.remove": lambda unit: unit.authorities.remove("aa"),
    "keys.put": lambda unit: unit.keys.put(wrapped_key("k2")),
    "keys.remove": lambda unit: unit.keys.remove("k1"),
    "keys.rewrap": lambda unit: unit.keys.rewrap(lambda key: wrapped_key(kek_id="22222222")),
    "certificates.add_intents": lambda unit: unit.certificates.add_intents([certificate("02")]),
    "blocks.add": lambda unit: unit.blocks.add(block("b2")),
    "blocks.put": lambda unit: unit.blocks.put(block(incident="INC-8")),
    "blocks.lift": lambda unit: unit.blocks.lift("b1", "uid:0"),
    "revocations.add": lambda unit: unit.revocations.add([revocation("0b")]),
    "revocations.release": lambda unit: unit.revocations.release(block()),
    "crls.put": lambda unit: unit.crls.put(crl(2), over=crl(1)),
    "crls.remove": lambda unit: unit.crls.remove(AUTHORITY),
    "federations.create": lambda unit: unit.federations.create(TrustDomain("third.example"), WEB),
    "federations.use_source": lambda unit: unit.federations.use_source(OTHER, SPIFFE),
    "federations.set_bundle": lambda unit: unit.federations.set_bundle(OTHER, bundle()),
    "federations.compare_and_swap": lambda unit: unit.federations.compare_and_swap(
        unit.federations.get(OTHER), bundle()
    ),
    "federations.delete": lambda unit: unit.federations.delete(OTHER),
    **secret_methods.AUDITED,
    **access_methods.AUDITED,
}
UNAUDITED = {
    "agents.seen": lambda unit: unit.agents.seen([(AGENT, EPOCH)]),
    "agents.running": lambda unit: unit.agents.running([(AGENT, "1")]),
    "agents.verifies_by": lambda unit: unit.agents.verifies_by(AGENT, 7),
    "authorities.hold": lambda unit: unit.authorities.hold("aa"),
    "authorities.bundle_changed": lambda unit: unit.authorities.bundle_changed(),
    "tokens.purge": lambda unit: unit.tokens.purge(EPOCH),
    "certificates.mark_issued": lambda unit: unit.certificates.mark_issued([("01", b"der")]),
    "certificates.purge": lambda unit: unit.certificates.purge(EPOCH),
    "streams.upsert": lambda unit: unit.streams.upsert([stream()]),
    "streams.replace": lambda unit: unit.streams.replace(AGENT, []),
    "streams.delete": lambda unit: unit.streams.delete(AGENT, ["x"]),
    "streams.forget": lambda unit: unit.streams.forget(AGENT),
    "streams.set_position": None,  # test_streams.py
    "changes.append": None,
    "changes.prune": lambda unit: unit.changes.prune(EPOCH),
    "changes.lock": lambda unit: unit.changes.lock(),
    "changes.flush": lambda unit: unit.changes.flush(),
    "audit.append": lambda unit: unit.audit.append(event()),
    "audit.append_all": lambda unit: unit.audit.append_all([event()]),
    "audit.flush": lambda unit: unit.audit.flush(),
    "authorities.raise_sequence": lambda unit: unit.authorities.raise_sequence(100),
    "crls.outdate": lambda unit: unit.crls.outdate([AUTHORITY]),
    "revocations.purge": lambda unit: unit.revocations.purge(EPOCH),
    "federations.note_poll": lambda unit: unit.federations.note_poll(OTHER, WEB, "away"),
    "federations.lock": lambda unit: unit.federations.lock(),
    "settings.put": lambda unit: unit.settings.put("a", "b"),
    "settings.count_up": lambda unit: unit.settings.count_up("c"),
    **secret_methods.UNAUDITED,
    **access_methods.UNAUDITED,
}
READING = {"get", "find", "list", "all", "all_for", "search", "latest_not_after", "expiry", "position", "tail", "count"}
READING |= {"standing", "among", "standing_against", "wanted", "concerned", "missed", "under", "of_profile", "polls"}
READING |= {"counts", "holding", "outcomes", "state", "since", "epoch", "bundle_sequence", "journal", "expect"}
READING |= secret_methods.READING | access_methods.READING


def fill(unit: UnitOfWork) -> None:
    unit.entries.create(spec(), "e1")
    unit.agents.upsert(agent())
    unit.tokens.create("ab", AGENT, later(9))
    unit.authorities.add(authority("aa"))
    unit.keys.put(wrapped_key())
    unit.certificates.add_intents([certificate("01")])
    unit.blocks.add(block())
    unit.revocations.add([revocation(reason=RevocationReason.CERTIFICATE_HOLD)])
    unit.crls.put(crl(1), over=None)
    unit.federations.create(OTHER, WEB)
    secret_methods.fill(unit)
    access_methods.fill(unit)


def everything(unit: UnitOfWork) -> object:
    return (
        unit.entries.all(),
        unit.agents.all(),
        unit.authorities.all(),
        unit.keys.all(),
        unit.certificates.search().items,
        unit.changes.since(0),
        unit.blocks.all(),
        unit.revocations.all(),
        unit.crls.all(),
        unit.federations.all(),
        unit.authorities.bundle_sequence,
        secret_methods.everything(unit),
        access_methods.everything(unit),
    )


async def test_every_repository_method_is_classified(store: Store) -> None:
    """A new method must be put into one of the tables above, so that nobody forgets to ask whether it is audited."""
    unit_slots = [name for name in UnitOfWork.__slots__ if name not in ("_tx", "now")]
    kinds = await store.read(lambda unit: {name: type(getattr(unit, name)) for name in unit_slots})
    for name, kind in kinds.items():
        methods = {method for method in dir(kind) if not method.startswith("_")}
        known = {key.split(".")[1] for key in (*AUDITED, *UNAUDITED) if key.startswith(f"{name}.")}
        assert methods - READING == known, name


@pytest.mark.parametrize("method", AUDITED)
async def test_a_change_without_an_audit_event_is_rolled_back(store: Store, method: str) -> None:
    await change(store, fill)
    before = await store.read(everything)
    with pytest.raises(UnauditedChange):
        await store.write(AUDITED[method])
    assert await store.read(everything) == before
    await change(store, AUDITED[method])  # and with one it goes through
    assert await store.read(everything) != before or method.startswith("tokens.")


@pytest.mark.parametrize("method", [name for name, work in UNAUDITED.items() if work])
async def test_observations_need_no_audit_event(store: Store, method: str) -> None:
    await change(store, fill)
    before = await store.read(lambda unit: unit.audit.tail(0, 1000))
    await store.write(UNAUDITED[method])
    after = await store.read(lambda unit: unit.audit.tail(0, 1000))
    assert (after != before) is method.startswith("audit.append"), "it is noted by nothing but itself"


@pytest.mark.parametrize("method", AUDITED)
async def test_a_reading_unit_of_work_cannot_write(store: Store, method: str) -> None:
    await change(store, fill)
    before = await store.read(everything)
    with pytest.raises(RuntimeError, match="cannot write"):
        await store.read(AUDITED[method])
    assert await store.read(everything) == before


async def test_one_now_for_all_of_a_unit_of_work(store: Store, clock: FakeClock) -> None:
    def work(unit: UnitOfWork) -> tuple[object, object]:
        clock.advance(5)
        return unit.now, unit.entries.create(spec(), "e1").created_at

    assert await change(store, work) == (EPOCH, EPOCH)


async def test_what_the_work_raises_is_raised_and_undone(store: Store) -> None:
    class Mine(Exception):
        pass

    def work(unit: UnitOfWork) -> None:
        fill(unit)
        raise Mine

    with pytest.raises(Mine):
        await change(store, work)
    assert (await store.read(lambda unit: unit.entries.all())) == ()


async def test_many_writes_at_once_each_succeed_or_fail_alone(store: Store) -> None:
    def work(unit: UnitOfWork, number: int) -> int:
        unit.settings.put(f"n{number}", "x")
        if number % 3 == 0:
            raise ValueError(str(number))
        if number % 3 == 1:
            unit.keys.put(wrapped_key("same"))
            unit.audit.append(event())
        return number

    results = await asyncio.gather(
        *(store.write(lambda unit, n=number: work(unit, n)) for number in range(60)), return_exceptions=True
    )
    assert [r for r in results if isinstance(r, int) and r % 3 == 2] == list(range(2, 60, 3))
    assert sum(isinstance(r, int) and r % 3 == 1 for r in results) == 1
    assert sum(isinstance(r, ConstraintViolated) for r in results) == 19
    assert [str(r) for r in results if isinstance(r, ValueError)] == [str(n) for n in range(0, 60, 3)]
    stored = await store.read(lambda unit: [n for n in range(60) if unit.settings.get(f"n{n}")])
    assert stored == [r for r in results if isinstance(r, int)]


async def test_an_error_that_the_work_swallows_is_not_forgotten(store: Store) -> None:
    """PostgreSQL ends the transaction at the first error; committing what is left of it must not pass for success."""

    def work(unit: UnitOfWork) -> None:
        unit.keys.put(wrapped_key())
        unit.audit.append(event())
        try:
            unit.keys.put(wrapped_key())
        except Exception:  # noqa: BLE001
            return

    try:
        await store.write(work)
    except StoreError:
        assert await store.read(lambda unit: unit.keys.all()) == ()
    else:
        assert len(await store.read(lambda unit: unit.keys.all())) == 1


async def test_work_withdrawn_before_it_began_is_not_done(sqlite_store: Store) -> None:
    store = sqlite_store
    began, go_on = threading.Event(), threading.Event()

    def slow(unit: UnitOfWork) -> None:
        began.set()
        assert go_on.wait(10)
        unit.settings.put("slow", "done")

    running = asyncio.create_task(store.write(slow))
    waiting = asyncio.create_task(store.write(lambda unit: unit.settings.put("waiting", "done")))
    assert await asyncio.to_thread(began.wait, 10)
    await asyncio.sleep(0)
    for task in (running, waiting):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    go_on.set()
    await store.write(lambda unit: None)
    assert await store.read(lambda unit: (unit.settings.get("slow"), unit.settings.get("waiting"))) == ("done", None)


async def test_writes_that_queue_up_share_a_commit(sqlite_store: Store, sqlite_url: str) -> None:
    """Fewer commits than writes, counted by SQLite's own write-ahead log: one commit mark each."""
    store = sqlite_store
    began, go_on = threading.Event(), threading.Event()

    def slow(unit: UnitOfWork) -> None:
        began.set()
        assert go_on.wait(10)

    await store.write(lambda unit: unit.settings.put("warm", "up"))
    first = asyncio.create_task(store.write(slow))
    assert await asyncio.to_thread(began.wait, 10)
    before = commits(Path(sqlite_url.removeprefix("sqlite:///") + "-wal"))
    others = [asyncio.create_task(store.write(lambda unit, n=n: unit.settings.put(f"k{n}", "x"))) for n in range(50)]
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.gather(first, *others)
    assert commits(Path(sqlite_url.removeprefix("sqlite:///") + "-wal")) - before == 1


def commits(wal: Path) -> int:
    """Frames that end a transaction (https://sqlite.org/fileformat2.html#walformat, field at offset 4 not 0)."""
    content = wal.read_bytes()
    page = int.from_bytes(content[8:12], "big")
    frames = range(32, len(content) - page - 24 + 1, page + 24)
    salts = content[16:24]
    return sum(content[at + 8 : at + 16] == salts and content[at + 4 : at + 8] != b"\0\0\0\0" for at in frames)


async def test_closing_finishes_what_is_queued_and_refuses_more(database_url: str, clock: FakeClock) -> None:
    store = open_store(database_url, clock=clock, limits=QUICK)
    queued = [asyncio.create_task(store.write(lambda unit: unit.settings.count_up("n"))) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    done = await asyncio.gather(*queued, return_exceptions=True)
    for refused in (store.write(lambda unit: None), store.read(lambda unit: None)):
        with pytest.raises(StoreUnavailable) as caught:
            await refused
        assert caught.value.reason is Reason.CLOSED
    await store.close()
    again = open_store(database_url, clock=clock, limits=QUICK)
    assert sorted(done) == [1, 2, 3]
    assert await again.read(lambda unit: unit.settings.get("n")) == "3"
    await again.close()


async def test_the_database_file_is_its_owners_alone(sqlite_store: Store, sqlite_url: str) -> None:
    await sqlite_store.write(lambda unit: unit.settings.put("a", "b"))
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    names = {path.name for path in file.parent.iterdir()}
    assert names == {"sds.db", "sds.db-wal", "sds.db-shm"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}


async def test_a_loose_mode_is_tightened_and_a_link_refused(sqlite_url: str, clock: FakeClock, tmp_path: Path) -> None:
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    file.chmod(0o644)
    await open_store(sqlite_url, clock=clock).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (tmp_path / "link.db").symlink_to(file)
    with pytest.raises(StoreUnavailable, match="ELOOP"):
        open_store(f"sqlite:///{tmp_path}/link.db", clock=clock)


async def test_colliding_transactions_are_retried(postgresql_store: Store) -> None:
    """Two that lock the same rows in opposite order: PostgreSQL ends one, which then runs again."""
    store = postgresql_store
    await store.write(lambda unit: (unit.settings.put("a", "0"), unit.settings.put("b", "0")))
    meeting = threading.Barrier(2)
    tries: list[str] = []

    def work(unit: UnitOfWork, first: str, second: str) -> None:
        tries.append(first)
        unit.settings.put(first, f"by {first}")
        if tries.count(first) == 1:
            meeting.wait(10)
        unit.settings.put(second, f"by {first}")

    await asyncio.gather(store.write(lambda unit: work(unit, "a", "b")), store.write(lambda unit: work(unit, "b", "a")))
    assert len(tries) == 3
    assert len(set(await store.read(lambda unit: (unit.settings.get("a"), unit.settings.get("b"))))) == 1


async def test_commits_are_durable_whatever_the_server_defaults_to(postgresql_url: str, clock: FakeClock) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{admin.info.dbname}" SET synchronous_commit = off')
    store = open_store(postgresql_url, clock=clock, limits=QUICK)
    setting = await store.read(
        lambda unit: unit.settings._tx._connection.exec_driver_sql("SHOW synchronous_commit").scalar()
    )
    await store.close()
    assert setting == "on"
