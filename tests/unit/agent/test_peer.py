"""None"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from attestation.attestor import Process
from attestation.errors import AttestationRefused
from sds.agent.cache import Cache
from sds.agent.peer import LocalCallers, PeerOptions
from sds.delivery.errors import LimitExceeded
from sds.delivery.view import EMPTY, WAITING
from tests.fakes.clock import FakeClock
from tests.unit.agent.entries import bundle, entry, selectors, svid
from tests.unit.agent.peer_kit import ENVOY, UID, FakeAttestor, FakeConnection, FakeMemory, FakeProcess, Kit, Told


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    clock = FakeClock()
    cache = Cache(clock)
    cache.apply([entry()], snapshot=True, bundle=bundle())
    cache.put({"e1": svid(entry())})
    attestor, memory, told = FakeAttestor(), FakeMemory(), Told()
    connections: dict[str, FakeConnection] = {}
    with ThreadPoolExecutor(4) as executor:
        callers = LocalCallers(
            connections.get,  # type: ignore[arg-type]
            attestor,
            cache,
            memory,
            told,
            clock,
            executor,
            PeerOptions(
                reattest_interval=timedelta(milliseconds=50),
                patience=timedelta(seconds=0.2),
                concurrency=2,
                streams_per_uid=200,
            ),
            container_of=lambda process: f"container-of-{process.pid}",
        )
        yield Kit(callers, cache, clock, attestor, memory, told, connections)
        attestor.gate.set()


async def test_a_caller_is_its_process_and_gets_what_that_may_have(kit: Kit) -> None:
    caller = await kit.identify(kit.connect())
    assert caller.view().resolve("default") is not None
    info = caller.description
    assert (info.pid, info.uid, info.start_time, info.path) == (10, 1000, 500, "/bin/envoy")
    assert info.container == caller.container == "container-of-10"
    assert info.spiffe_ids == ("spiffe://example.org/e1",)
    assert info.selectors == ("unix:path:/bin/envoy", "unix:uid:1000")
    assert kit.told.events == [("attested",), ("matched", ("spiffe://example.org/e1",))]


async def test_a_peer_that_is_no_connection_of_ours_is_refused(kit: Kit) -> None:
    with pytest.raises(AttestationRefused, match="did not come through"):
        await kit.callers.identify("unix:")
    assert not kit.attestor.calls


async def test_streams_and_connections_of_a_process_share_one_attestation(kit: Kit) -> None:
    process = FakeProcess()
    connections = [kit.connect(process) for _ in range(50)]
    kit.attestor.gate.clear()
    asking = [asyncio.create_task(kit.identify(connection)) for connection in connections * 2]
    await asyncio.sleep(0)
    kit.attestor.gate.set()
    callers = await asyncio.gather(*asking)
    assert len({id(caller) for caller in callers}) == 1
    assert len(kit.attestor.calls) == 1
    assert len(kit.callers) == 1


async def test_a_later_stream_is_attested_anew(kit: Kit) -> None:
    """The process may have executed another binary meanwhile."""
    connection = kit.connect()
    caller = await kit.identify(connection)
    kit.clock.advance(0.9)
    await kit.identify(connection)
    assert len(kit.attestor.calls) == 1
    kit.clock.advance(0.2)
    kit.attestor.facts = selectors("unix:uid:1000x")
    assert await kit.identify(connection) is caller
    assert len(kit.attestor.calls) == 2
    assert caller.view() is EMPTY
    assert kit.told.of("unmatched") == [("unix:uid:1000x",)]


async def test_attestations_at_once_are_bounded(kit: Kit) -> None:
    kit.attestor.gate.clear()
    asking = [
        asyncio.create_task(kit.identify(kit.connect(FakeProcess(Process(pid, 0, 0, 1))))) for pid in range(1, 10)
    ]
    await asyncio.sleep(0.02)
    kit.attestor.gate.set()
    await asyncio.gather(*asking)
    assert kit.attestor.most_at_once == 2


async def test_a_process_that_dies_while_it_is_attested_gets_nothing(kit: Kit) -> None:
    """Between the reading of the facts and now its PID may have become another's."""
    process = FakeProcess()
    kit.attestor.gate.clear()
    asking = asyncio.create_task(kit.identify(kit.connect(process)))
    await asyncio.sleep(0.01)
    process.lives = False
    kit.attestor.gate.set()
    with pytest.raises(AttestationRefused, match="gone"):
        await asking
    assert not kit.cache.facts().used


async def test_a_caller_that_leaves_while_it_is_attested_leaves_nothing(kit: Kit) -> None:
    connection = kit.connect()
    kit.attestor.gate.clear()
    asking = asyncio.create_task(kit.identify(connection))
    await asyncio.sleep(0.01)
    connection.close()
    kit.attestor.gate.set()
    with pytest.raises(AttestationRefused):
        await asking
    assert not kit.cache.facts().used
    assert len(kit.callers) == 0


async def test_when_the_last_connection_is_gone_so_is_the_need(kit: Kit) -> None:
    process = FakeProcess()
    one, two = kit.connect(process), kit.connect(process)
    await kit.identify(one)
    await kit.identify(two)
    one.close()
    assert kit.cache.facts().used == {"e1"}
    two.close()
    assert not kit.cache.facts().used
    assert len(kit.callers) == 0


async def test_a_reused_pid_shares_nothing(kit: Kit) -> None:
    first = await kit.identify(kit.connect(FakeProcess(ENVOY)))
    kit.attestor.facts = selectors("unix:uid:0")
    second = await kit.identify(kit.connect(FakeProcess(Process(10, 0, 0, 900))))
    assert first is not second
    assert second.view() is EMPTY
    assert first.view() is not EMPTY


async def test_a_refusal_is_told_and_costs_no_second_attestation_at_once(kit: Kit) -> None:
    kit.attestor.error = AttestationRefused("another process has this PID now")
    connection = kit.connect()
    for _ in range(5):
        with pytest.raises(AttestationRefused, match="another process"):
            await kit.identify(connection)
    assert len(kit.attestor.calls) == 1
    kit.attestor.error = None
    kit.clock.advance(2)
    assert (await kit.identify(connection)).view() is not EMPTY
    assert len(connection.callbacks) == 1, "refusals pile nothing up on a connection"
    connection.close()
    assert not kit.cache.facts().used


async def test_an_attestor_that_breaks_gives_nothing(kit: Kit) -> None:
    kit.attestor.error = RuntimeError("secret detail")
    with pytest.raises(AttestationRefused) as refused:
        await kit.identify(kit.connect())
    assert "secret" not in str(refused.value)
    assert kit.told.of("broke") == ["RuntimeError"]
    assert not kit.cache.facts().used


async def test_a_live_stream_is_attested_again_and_its_view_shrinks(kit: Kit) -> None:
    caller = await kit.identify(kit.connect())
    woken = asyncio.Event()
    unwatch = caller.watch(woken.set)
    again = asyncio.create_task(kit.callers.run())
    kit.attestor.facts = selectors("unix:uid:1000", "unix:path:/tmp/other")
    kit.cache.apply([entry("e1", "unix:path:/bin/envoy", revision=2)])
    kit.cache.put({"e1": svid(entry("e1", "unix:path:/bin/envoy", revision=2))})
    woken.clear()
    kit.clock.advance(1)
    async with asyncio.timeout(10):
        await woken.wait()
    assert caller.view() is EMPTY
    assert caller.description.path == "/tmp/other"
    unwatch()
    unwatch()
    again.cancel()


async def test_a_live_stream_ends_when_its_process_is_not_what_it_was(kit: Kit) -> None:
    caller = await kit.identify(kit.connect())
    woken = asyncio.Event()
    caller.watch(woken.set)
    again = asyncio.create_task(kit.callers.run())
    kit.attestor.error = AttestationRefused("the process has changed its user")
    kit.clock.advance(1)
    async with asyncio.timeout(10):
        await woken.wait()
    with pytest.raises(AttestationRefused, match="changed its user"):
        caller.view()
    assert not kit.cache.facts().used
    again.cancel()


async def test_attesting_again_goes_round_everyone(kit: Kit) -> None:
    for pid in range(1, 6):
        await kit.identify(kit.connect(FakeProcess(Process(pid, 1000, 1000, 1))))
    kit.attestor.calls.clear()
    again = asyncio.create_task(kit.callers.run())
    for _ in range(3):
        kit.clock.advance(1)
        async with asyncio.timeout(10):
            while len(kit.attestor.calls) < 5:
                await asyncio.sleep(0.005)
        assert sorted(process.pid for process in kit.attestor.calls) == [1, 2, 3, 4, 5]
        kit.attestor.calls.clear()
    again.cancel()


async def test_a_process_without_an_entry_is_told_of_once_and_served_when_one_comes(kit: Kit) -> None:
    kit.attestor.facts = selectors("unix:uid:7")
    connection = kit.connect()
    caller = await kit.identify(connection)
    kit.clock.advance(2)
    await kit.identify(connection)
    assert caller.view() is EMPTY
    assert kit.told.of("unmatched") == [("unix:uid:7",)]
    woken = asyncio.Event()
    caller.watch(woken.set)
    kit.cache.apply([entry("seven", "unix:uid:7")])
    kit.cache.put({"seven": svid(entry("seven", "unix:uid:7"))})
    assert woken.is_set()
    assert caller.view().spiffe_ids == ("spiffe://example.org/seven",)
    assert not kit.told.of("matched")
    kit.clock.advance(2)
    await kit.identify(connection)
    await kit.identify(connection)
    assert kit.told.of("matched") == [("spiffe://example.org/seven",)]


async def test_a_first_certificate_is_waited_for(kit: Kit) -> None:
    """A client that is told too early that there is nothing may take that for final."""
    kit.attestor.facts = selectors("unix:uid:7")
    kit.cache.apply([entry("seven", "unix:uid:7")])
    kit.cache.reach(True)
    asking = asyncio.create_task(kit.identify(kit.connect()))
    async with asyncio.timeout(10):
        while "seven" not in kit.cache.facts().used:
            await asyncio.sleep(0)
    assert not asking.done()
    kit.cache.put({"seven": svid(entry("seven", "unix:uid:7"))})
    assert (await asking).view().resolve("default") is not None


async def test_a_certificate_that_does_not_come_is_not_waited_for_for_ever(kit: Kit) -> None:
    kit.attestor.facts = selectors("unix:uid:7")
    kit.cache.apply([entry("seven", "unix:uid:7")])
    kit.cache.reach(True)
    assert (await kit.identify(kit.connect())).view() is WAITING


async def test_names_are_remembered_by_process(kit: Kit) -> None:
    caller = await kit.identify(kit.connect())
    caller.remember(["default", "ROOTCA"])
    assert caller.remembered() == ("default", "ROOTCA")
    assert kit.memory.names == {ENVOY: ("default", "ROOTCA")}


async def test_an_operator_finds_a_connected_process(kit: Kit) -> None:
    caller = await kit.identify(kit.connect())
    assert kit.callers.workload(10) is caller
    assert kit.callers.workload(11) is None
    assert await kit.callers.attest(ENVOY) == UID


async def test_one_users_streams_are_capped_also_while_they_wait(kit: Kit) -> None:
    kit.attestor.gate.clear()
    connection = kit.connect()
    waiting = [asyncio.create_task(kit.identify(connection)) for _ in range(200)]
    await asyncio.sleep(0.01)
    with pytest.raises(LimitExceeded, match="too many streams"):
        await kit.identify(kit.connect())
    other = asyncio.create_task(kit.identify(kit.connect(FakeProcess(Process(11, 2000, 2000, 5)))))
    kit.attestor.gate.set()
    callers = await asyncio.gather(*waiting)
    await other
    assert kit.told.of("limited") == [1000]
    unwatch = [caller.watch(lambda number=number: None) for number, caller in enumerate(callers)]  # type: ignore[misc]
    with pytest.raises(LimitExceeded):
        await kit.identify(connection)
    unwatch[0]()
    unwatch[0]()
    await kit.identify(connection)
    for end in unwatch:
        end()
    assert kit.callers._streams.open == 0
