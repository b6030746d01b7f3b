from __future__ import annotations

from datetime import timedelta

import pytest

from sds.delivery import registry as module
from sds.delivery.messages import Node, SotwRequest
from sds.delivery.registry import LiveStream, StreamRegistry
from sds.delivery.stream import SotwStream
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.delivery import FakeCaller
from tests.fakes.secrets import view

V1, V2 = view(1), view(2)


def open_stream(registry: StreamRegistry, clock: FakeClock) -> LiveStream:
    stream_id = registry.next_id()
    core = SotwStream(nonce_prefix=f"{stream_id}.")
    stream = LiveStream(stream_id, "sotw", FakeCaller(V1), core, clock.monotonic())
    registry.add(stream)
    return stream


def test_a_stream_shows_what_it_was_sent_and_what_became_of_it():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    stream = open_stream(registry, clock)
    clock.advance(1)
    stream.core.receive(SotwRequest(("default", "no\npe"), node=Node("envoy-1")), V1, clock.monotonic())
    first = stream.core.take(clock.monotonic())
    assert first is not None
    clock.advance(2)
    stream.core.receive(SotwRequest(("default",), first.nonce), V1, clock.monotonic())
    stream.core.offer(V2)
    second = stream.core.take(clock.monotonic())
    assert second is not None
    stream.core.receive(SotwRequest(("default",), second.nonce, "bad"), V2, clock.monotonic())
    clock.advance(10)
    (state,) = registry.snapshot()
    assert (state.id, state.protocol, state.node_id, state.opened_at) == ("run-1", "sotw", "envoy-1", EPOCH)
    assert state.caller.pid == 42
    resource = state.resources[0]
    assert (resource.sent_version, resource.sent_serial) == (second.resource.version, "2")  # type: ignore[union-attr]
    assert (resource.acked_version, resource.acked_serial) == (first.resource.version, "1")  # type: ignore[union-attr]
    assert (resource.nacked_version, resource.nack_detail) == (resource.sent_version, "bad")
    assert resource.sent_at == resource.acked_at == EPOCH + timedelta(seconds=3)


def test_a_name_without_an_answer_shows_the_reason_and_no_times():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    stream = open_stream(registry, clock)
    stream.core.receive(SotwRequest(("no\npe",)), V1, clock.monotonic())
    (resource,) = registry.snapshot()[0].resources
    assert (resource.name, resource.refusal) == ("no\ufffdpe", "unknown or not granted")
    assert resource.sent_at is resource.acked_at is None


def test_a_stepped_wall_clock_bends_no_time_between():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    open_stream(registry, clock)
    clock.advance(5)
    clock.jump(3600)
    assert registry.snapshot()[0].opened_at == clock.now() - timedelta(seconds=5)


def test_changes_are_told_once_and_each_stream_once():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    first, second = open_stream(registry, clock), open_stream(registry, clock)
    assert [state.id for state in registry.changes(10).streams] == ["run-1", "run-2"]
    assert registry.changes(10) == module.StreamChanges(snapshot=False, streams=(), closed=(), more=False)
    registry.touch(second)
    registry.touch(second)
    registry.touch(first)
    registry.remove(first)
    changes = registry.changes(10)
    assert [state.id for state in changes.streams] == ["run-2"]
    assert changes.closed == ("run-1",)
    assert len(registry) == 1


def test_of_many_changes_the_oldest_are_told_first_and_the_rest_stays():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    streams = [open_stream(registry, clock) for _ in range(7)]
    first = registry.changes(3)
    assert ([state.id for state in first.streams], first.closed, first.more) == (["run-1", "run-2", "run-3"], (), True)
    for number in (6, 2, 1, 0):
        registry.remove(streams[number])
    registry.touch(streams[3])
    second = registry.changes(3)
    assert [state.id for state in second.streams] == ["run-4", "run-5", "run-6"], "run-7 is not open any more"
    assert (second.closed, second.more) == (("run-7", "run-3", "run-2"), True)
    last = registry.changes(3)
    assert (last.streams, last.closed, last.more) == ((), ("run-1",), False)


def test_starting_over_tells_all_that_is_open_in_pieces_too():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    streams = [open_stream(registry, clock) for _ in range(3)]
    registry.changes(10)
    registry.remove(streams[0])
    registry.start_over()
    first, second = registry.changes(1), registry.changes(1)
    assert [[state.id for state in changes.streams] for changes in (first, second)] == [["run-2"], ["run-3"]]
    assert (first.snapshot, first.closed, first.more) == (True, (), True)
    assert (second.snapshot, second.more) == (False, False)


def test_with_nobody_asking_closed_streams_do_not_pile_up():
    clock = FakeClock()
    registry = StreamRegistry("run", clock)
    kept = open_stream(registry, clock)
    for _ in range(module.MAX_CLOSED + 5):
        registry.remove(open_stream(registry, clock))
    changes = registry.changes(10)
    assert (changes.snapshot, changes.closed) == (True, ())
    assert [state.id for state in changes.streams] == [kept.id]
    assert not registry.changes(10).snapshot


def test_ids_of_two_runs_never_meet():
    clock = FakeClock()
    assert StreamRegistry("a", clock).next_id() != StreamRegistry("b", clock).next_id()


def test_closing_twice_is_a_mistake_of_ours():
    registry = StreamRegistry("run", FakeClock())
    stream = open_stream(registry, FakeClock())
    registry.remove(stream)
    with pytest.raises(KeyError):
        registry.remove(stream)
