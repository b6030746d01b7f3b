"""A sink is given every leaf in order and at least once, by one process at a time, whatever happens to either side."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from sds.audit.sinks.items import Leaf, Signed
from sds.server.audit_sinks import feeder as feeders
from sds.server.audit_sinks.watch import LedgerWatch
from tests.contract.audit_sinks.conftest import Kit, Recorder
from tests.fakes.audit_tree import note, prune, sequence


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeders, "IDLE", 0.1)


async def test_events_and_checkpoints_come_in_order(kit: Kit, recorder: Recorder) -> None:
    await kit.append(3)
    kit.feeder(recorder)
    await kit.until(lambda: len(recorder.leaves) == 3)
    await kit.append(250)
    await kit.until(lambda: len(recorder.leaves) == 253 and len(recorder.checkpoints) == 2)
    assert recorder.leaves == list(range(253))
    assert recorder.checkpoints == [3, 253]
    for place, item in enumerate(recorder.items):
        if isinstance(item, Signed):
            assert [each.leaf for each in recorder.items[:place] if isinstance(each, Leaf)] == list(range(item.size))
            assert item.note == note(item.size)
    assert max(recorder.batches) <= 102
    await kit.until(lambda: kit.observed.counts["delivered"] == 255)


async def test_a_checkpoint_that_comes_later_than_its_events_is_told_as_well(kit: Kit, recorder: Recorder) -> None:
    await kit.store.write(lambda unit: unit.audit.append_all([]))
    await kit.append(1)
    kit.feeder(recorder)
    await kit.until(lambda: recorder.checkpoints == [1])
    await kit.append(1)
    await kit.until(lambda: recorder.checkpoints == [1, 2])
    assert recorder.leaves == [0, 1]


async def test_what_a_killed_process_did_not_note_comes_again_and_nothing_is_left_out(
    kit: Kit, recorder: Recorder
) -> None:
    for turn in range(6):
        await kit.append(40)
        kit.feeder(recorder, f"process-{turn}", batch=7)
        await kit.until(lambda turn=turn: len(set(recorder.leaves)) > 40 * turn + 10)
        await kit.kill(f"process-{turn}")  # in the middle of whatever it did; nothing is released
        kit.clock.advance(60)
    kit.feeder(recorder, "last")
    await kit.until(lambda: len(set(recorder.leaves)) == 240)
    highest = -1
    for leaf in recorder.leaves:
        assert leaf <= highest + 1, "a leaf came before one that it follows"
        highest = max(highest, leaf)


async def test_a_second_process_waits_and_takes_over(kit: Kit, recorder: Recorder) -> None:
    first, second = recorder, Recorder()
    await kit.append(5)
    holding = kit.feeder(first, "a")
    await kit.until(lambda: len(first.leaves) == 5)
    kit.feeder(second, "b")
    await kit.append(5)
    await kit.until(lambda: len(first.leaves) == 10)
    assert second.items == []
    await kit.kill("a")
    await holding.close()
    assert first.closed
    await kit.append(5)
    await kit.until(lambda: second.leaves == [10, 11, 12, 13, 14])


async def test_a_problem_is_told_once_and_so_is_its_end(kit: Kit, recorder: Recorder) -> None:
    recorder.problem = "the receiver answered 500"
    await kit.append(5)
    kit.feeder(recorder)
    await kit.until(lambda: kit.observed.counts["failed"] > 10)
    (problem,) = await kit.told("audit.sink.problem")
    assert (problem.outcome, problem.reason, problem.target.id) == ("failure", "the receiver answered 500", "s")
    await kit.until(lambda: kit.observed.standing["s"].problem)
    assert kit.observed.standing["s"].lag_events >= 5
    recorder.problem = ""
    await kit.until(lambda: len(recorder.leaves) >= 6)
    (recovered,) = await kit.told("audit.sink.recovered")
    assert recovered.details["problem"] == "the receiver answered 500"
    await kit.until(lambda: not kit.observed.standing["s"].problem and not kit.observed.standing["s"].lag_events)
    assert recorder.leaves == list(range(len(recorder.leaves)))


async def test_readiness_names_the_sink_that_fails(kit: Kit, recorder: Recorder) -> None:
    recorder.problem = "nobody reads standard output"
    await kit.append(1)
    kit.feeder(recorder)
    await kit.until(lambda: kit.observed.counts["failed"] > 4)
    watch = LedgerWatch(kit.store, ["s", "new"], kit.clock, kit.observed)
    await watch.look()
    assert await watch.readiness() == "sinks of the audit log fail (s: nobody reads standard output)"
    assert watch.note
    standing = {one.name: one for one in watch.standings}
    assert standing["new"].lag_events == watch.heads.leaves
    assert standing["new"].next_leaf == 0


async def test_a_process_that_cannot_reach_the_receiver_lets_another_one_try(kit: Kit, recorder: Recorder) -> None:
    recorder.problem = "the receiver cannot be reached: No route to host"
    await kit.append(3)
    kit.feeder(recorder, "a")
    await kit.until(lambda: kit.observed.counts["failed"] >= feeders.LET_GO_AFTER)
    other = Recorder()
    kit.feeder(other, "b")
    await kit.until(lambda: len(other.leaves) >= 3)
    assert other.leaves == list(range(len(other.leaves)))


async def test_deliveries_that_are_too_large_become_smaller(kit: Kit, recorder: Recorder) -> None:
    recorder.most = 5
    await kit.append(60)
    kit.feeder(recorder)
    await kit.until(lambda: len(recorder.leaves) == 60)
    assert recorder.leaves == list(range(60))


async def test_large_events_make_small_deliveries(kit: Kit, recorder: Recorder) -> None:
    await kit.append(8, details={"text": "x" * 400_000})
    kit.feeder(recorder)
    await kit.until(lambda: len(recorder.leaves) == 8)
    assert max(recorder.batches) <= 3


async def test_a_sink_that_is_wanted_from_now_on_gets_nothing_older(kit: Kit, recorder: Recorder) -> None:
    await kit.append(5)
    kit.feeder(recorder, newest=True)
    await kit.until(lambda: "s" in kit.observed.standing and kit.observed.standing["s"].holder)
    await kit.append(2)
    await kit.until(lambda: 7 in recorder.checkpoints)
    assert recorder.leaves == [5, 6]
    assert recorder.checkpoints == [7]


async def test_what_was_pruned_before_a_sink_had_it_is_told(kit: Kit, recorder: Recorder) -> None:
    recorder.problem = "away"
    await kit.append(10)
    kit.feeder(recorder)
    await kit.until(lambda: kit.observed.counts["failed"] > 4)
    await prune(kit.store, 4)
    before = kit.observed.counts["failed"]
    await kit.until(lambda: kit.observed.counts["failed"] > before + 1)  # what was read before that is done with
    recorder.problem = ""
    await kit.until(lambda: len(recorder.leaves) >= 6)
    assert recorder.leaves[0] == 4
    lost = await kit.told("audit.sink.problem", "first_leaf")
    assert [(event.details["first_leaf"], event.details["last_leaf"]) for event in lost] == [(0, 3)]


async def test_an_event_that_somebody_deleted_is_told_as_gone_and_stops_nothing(kit: Kit, recorder: Recorder) -> None:
    await kit.append(3)
    await kit.store.write(lambda unit: unit._tx.run(text("DELETE FROM audit_events WHERE seq = 2")))
    await kit.store.write(lambda unit: unit._tx.run(text("DELETE FROM audit_leaves WHERE leaf = 0")))
    kit.feeder(recorder)
    await kit.until(lambda: len(recorder.leaves) >= 3)
    assert [item.canonical is None for item in recorder.items if isinstance(item, Leaf)][:3] == [True, True, False]


async def test_a_hung_sink_holds_up_nobody_else(kit: Kit, recorder: Recorder) -> None:
    recorder.hung.clear()
    await kit.append(3)
    kit.feeder(recorder)
    await asyncio.sleep(0.1)
    for _ in range(20):
        await kit.append(5)
    assert await sequence(kit.store) == 103
    recorder.hung.set()
    await kit.until(lambda: len(recorder.leaves) == 103)


async def test_what_came_last_is_told_before_a_server_ends(kit: Kit, recorder: Recorder) -> None:
    await kit.append(3)
    feeder = kit.feeder(recorder, batch=7)
    await kit.until(lambda: kit.observed.counts["delivered"] == 4)
    await kit.kill()
    await kit.append(30)
    await feeder.close()
    assert recorder.leaves == list(range(33))
    assert recorder.closed


async def test_a_server_that_ends_waits_for_no_sink_that_hangs(
    kit: Kit, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeders, "LAST", 0.1)
    await kit.append(3)
    feeder = kit.feeder(recorder)
    await kit.until(lambda: kit.observed.counts["delivered"] == 4)
    await kit.kill()
    recorder.hung.clear()
    await kit.append(3)
    await feeder.close()
    assert recorder.leaves == [0, 1, 2]
    other = Recorder()
    kit.feeder(other, "b")
    await kit.until(lambda: other.leaves == [3, 4, 5])
