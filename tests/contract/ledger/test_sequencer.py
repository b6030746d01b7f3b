"""Each event gets its leaf, each tree its signature, whoever else is at it and whatever goes wrong between."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from ca.kek import Kek
from ca.keys import KeyType
from ca.masked import Masked
from sds.audit.checkpoint import chain_of_keys, parse_checkpoint
from sds.audit.merkle import leaf_hash, root_of
from sds.audit.note import parse_vkey
from sds.server.audit.log_keys import LedgerUnusable, LogKeyUnusable
from sds.server.events import system_actor
from sds.store.errors import Reason, StoreUnavailable
from sds.store.ledger.tree import Head
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.ledger.conftest import RING, Log
from tests.contract.store.samples import event
from tests.fakes.clock import FakeClock


async def check(store: Store) -> int:
    """That every leaf is an event in order, and each checkpoint the root over them; how many there are."""

    def look(uow: UnitOfWork) -> int:
        lines = uow.audit_lines.judged(0, 2**40, 2**40)
        keys = [parse_vkey(key.verifier) for key in uow.audit_keys.all()]
        assert [line.leaf for line in lines] == list(range(len(lines)))
        assert [line.seq for line in lines] == sorted({line.seq for line in lines})
        assert uow.audit_lines.unplaced(lines[-1].seq if lines else 0, 1) == ()
        hashes = [leaf_hash(line.canonical or b"") for line in lines]
        assert b"".join(uow.audit_tree.tile(0, tile) for tile in range(len(lines) // 256 + 1)) == b"".join(hashes)
        for stored in uow.audit_tree.checkpoints(limit=10_000):
            found = parse_checkpoint(stored.note, keys)
            assert (found.size, found.root) == (stored.size, stored.root)
            assert found.root == root_of(hashes[: found.size])
        newest = uow.audit_tree.checkpoint()
        assert (newest.size if newest else 0) == len(lines)
        return len(lines)

    return await store.read(look)


async def test_nothing_is_done_while_nothing_is_new(log: Log) -> None:
    assert not await log.sequencer.tick()
    assert await log.store.read(lambda uow: uow.audit_keys.all()) == ()
    assert await log.store.read(lambda uow: uow.audit_tree.checkpoint()) is None


async def test_the_first_event_makes_the_key(log: Log) -> None:
    await log.append()
    await log.sequencer.drain()
    (key,) = await log.keys.all()
    events = [stored.event for stored in await log.store.read(lambda uow: uow.audit.tail(0))]
    assert [one.action for one in events] == ["test.change", "key.create", "audit.key.create"]
    assert events[2].details["verifier"] == key.verifier
    assert parse_vkey(key.verifier).name.startswith("example.org/audit/")
    assert await check(log.store) == 3


async def test_many_events_in_small_steps(store: Store, clock: FakeClock) -> None:
    log = Log(store, clock, batch=100)
    await log.append(730)
    steps = 1
    while await log.sequencer.tick():
        steps += 1
    await log.sequencer.drain()
    assert steps >= 7
    assert await check(store) == 732
    assert log.registry.get_sample_value("sds_server_audit_tree_size") == 732
    assert log.registry.get_sample_value("sds_server_audit_checkpoint_timestamp_seconds") == clock.now().timestamp()


async def test_going_on_after_a_restart(store: Store, clock: FakeClock) -> None:
    assert await Log(store, clock).grow(300) == 302
    assert await Log(store, clock).grow(1) == 303
    assert await Log(store, clock).grow(0) == 303
    assert await check(store) == 303
    assert len(await Log(store, clock).keys.all()) == 1


@pytest.mark.parametrize("replicas", [2, 3])
async def test_replicas_at_once(store: Store, clock: FakeClock, replicas: int) -> None:
    logs = [Log(store, clock, batch=7) for _ in range(replicas)]
    busy = True

    async def work(log: Log) -> None:
        while busy:
            await log.sequencer.tick()
            await asyncio.sleep(0)
        await log.sequencer.drain()

    workers = [asyncio.create_task(work(log)) for log in logs]
    await asyncio.gather(*(logs[number % replicas].append(3) for number in range(60)))
    busy = False
    await asyncio.gather(*workers)
    keys = await logs[0].keys.all()
    assert len(keys) == 1
    assert await check(store) >= 182
    wrapped = await store.read(lambda uow: uow.keys.all())
    assert [f"wrapped:{one.label.key_id}" for one in wrapped] == [keys[0].key_ref]


async def test_an_event_that_commits_late_gets_a_later_leaf_and_none_is_lost(
    postgresql_store: Store, postgresql_url: str, clock: FakeClock
) -> None:
    log = Log(postgresql_store, clock)
    await log.grow(1)
    begun, may_end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(uow: UnitOfWork) -> None:
        uow.audit.append(event("test.slow"))
        uow.audit.flush()
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(30)

    late = asyncio.create_task(postgresql_store.write(slow))
    await begun.wait()
    await log.append(5)
    before = await postgresql_store.read(lambda uow: uow.audit_tree.head())
    await log.sequencer.tick()
    assert await postgresql_store.read(lambda uow: uow.audit_tree.head()) == before, "8 before 7"
    clock.advance(11)
    assert "a transaction that does not end" in str(await log.sequencer.readiness())
    may_end.set()
    await late
    await log.sequencer.drain()
    assert await log.sequencer.readiness() is None
    assert await check(postgresql_store) == before.size + 6
    with psycopg.connect(postgresql_url) as raw:
        assert raw.execute(
            "SELECT count(*) FROM audit_events e LEFT JOIN audit_leaves l USING (seq) WHERE l.seq IS NULL"
        ).fetchone() == (0,)


class Broken:
    """A store that fails at its n-th transaction of a kind."""

    def __init__(self, store: Store, fail: str, after: bool) -> None:
        self._store = store
        self._fail = fail
        self._after = after
        self.broken = True

    async def read(self, work):
        return await self._do("read", work)

    async def write(self, work):
        return await self._do("write", work)

    async def _do(self, kind: str, work):
        hit = self.broken and kind == self._fail
        if hit and not self._after:
            raise StoreUnavailable(Reason.LOST)
        value = await getattr(self._store, kind)(work)
        if hit:
            raise StoreUnavailable(Reason.LOST, uncertain=True)
        return value


@pytest.mark.parametrize("fail", ["read", "write"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_step_that_fails_is_done_again(store: Store, clock: FakeClock, fail: str, after: bool) -> None:
    await Log(store, clock).grow(5)
    broken = Broken(store, fail, after)
    log = Log(broken, clock)
    await Log(store, clock).append(5)
    with pytest.raises(StoreUnavailable):
        await log.sequencer.tick()
    log.sequencer._failed(StoreUnavailable(Reason.LOST))
    broken.broken = False
    await log.sequencer.drain()
    assert await check(store) == 12
    assert log.registry.get_sample_value("sds_server_audit_sequencing_failures_total") == 1


async def test_what_stands_is_never_signed_over(log: Log) -> None:
    """A writer that is late with what it computed before another one was quicker changes nothing."""
    await log.grow(2)
    key = await log.keys.current()
    head = await log.store.read(lambda uow: uow.audit_tree.head())
    await log.append(2)
    _, _, addition = await log.store.read(lambda uow: log.sequencer._looked(uow, head, key))
    assert addition is not None
    await log.grow(1)
    assert not await log.store.write(lambda uow: uow.audit_tree.extend(head, addition))
    assert not await log.store.write(lambda uow: uow.audit_tree.extend(Head(head.size, head.seq + 1), addition))
    await check(log.store)


async def test_a_new_key_is_vouched_for_and_old_checkpoints_verify(store: Store, clock: FakeClock) -> None:
    log, other = Log(store, clock), Log(store, clock)
    await log.grow(3)
    await other.grow(1)
    first = (await log.keys.current()).verifier
    second = await log.keys.rotate(system_actor(), "r-9")
    assert second != first
    await other.grow(2)  # learns of it by itself
    assert (await other.keys.current()).verifier == second
    keys = await log.keys.all()
    assert chain_of_keys(first, [key.endorsement for key in keys if key.endorsement]) == (first, second)
    newest = await store.read(lambda uow: uow.audit_tree.checkpoint())
    assert newest is not None
    assert parse_checkpoint(newest.note, [second]).size == newest.size
    await check(store)
    wrapped = await store.read(lambda uow: uow.keys.all())
    assert [f"wrapped:{one.label.key_id}" for one in wrapped] == [keys[1].key_ref], "the old private key is gone"
    actions = [stored.event.action for stored in await store.read(lambda uow: uow.audit.tail(0))]
    assert actions.count("audit.key.create") == 2
    assert actions.count("key.destroy") == 1


async def test_the_key_is_wrapped_anew_with_the_others(store: Store, clock: FakeClock) -> None:
    await Log(store, clock).grow(1)
    ring = RING.rotated(Kek.of(Masked(b"n" * 32)))

    def rewrap(uow: UnitOfWork) -> int:
        uow.audit.append(event("kek.rotate"))
        return uow.keys.rewrap(lambda key: ring.rewrap(key, b"0" * 12))

    assert await store.write(rewrap) == 1
    log = Log(store, clock)
    await log.append()
    with pytest.raises(LogKeyUnusable, match="does not open"):
        await log.sequencer.tick()
    log.keeper.use(ring.retired())
    await log.sequencer.drain()
    assert await check(store) == 5


@pytest.mark.parametrize("what", ["gone", "swapped"])
async def test_a_key_that_cannot_sign_is_said_and_replaced(store: Store, clock: FakeClock, what: str) -> None:
    log = Log(store, clock)
    await log.grow(1)
    (key,) = await log.keys.all()
    other = await log.keeper.generate(KeyType.ED25519, "audit")

    def tamper(uow: UnitOfWork) -> None:
        if what == "gone":
            uow.keys.remove(key.key_ref.partition(":")[2])
            uow.audit.append(event("test.remove"))
        else:
            uow._tx._connection.exec_driver_sql(f"UPDATE audit_keys SET key_ref = '{other.ref}'")

    await store.write(tamper)
    log = Log(store, clock)
    await log.append()
    with pytest.raises(LogKeyUnusable):
        await log.sequencer.tick()
    log.sequencer._failed(LogKeyUnusable("the key does not open"))
    clock.advance(60)
    assert "the key does not open" in str(await log.sequencer.readiness())
    await log.keys.rotate(system_actor(), "")
    await log.sequencer.drain()
    assert await log.sequencer.readiness() is None
    keys = await log.keys.all()
    assert keys[1].endorsement == "", "nothing could vouch for it"
    await check(store)


async def test_a_tree_that_lost_its_end_is_said_and_stops_nobody(log: Log) -> None:
    await log.grow(5)
    await log.store.write(lambda uow: uow._tx._connection.exec_driver_sql("DELETE FROM audit_tiles"))
    await log.append()
    with pytest.raises(LedgerUnusable, match="backup"):
        await log.sequencer.tick()
    running = asyncio.create_task(log.sequencer.run())
    while not log.registry.get_sample_value("sds_server_audit_sequencing_failures_total"):
        await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    log.clock.advance(60)
    assert "backup" in str(await log.sequencer.readiness())
