from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sds._pb.sds.node.v1 import node_pb2
from sds.agent.errors import InvalidAnswer, ServerUnreachable
from sds.agent.report import EVENTS_PER_REPORT, STREAMS_PER_REPORT, Reporter, SeenEvent
from sds.agent.spool.backlog import SpoolBacklog
from sds.backoff import Backoff
from sds.delivery.ports import CallerInfo
from sds.delivery.registry import ResourceState, StreamChanges, StreamState
from sds.logs import get_logger
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.wait import until

CALLER = CallerInfo(
    pid=7, uid=1000, path="/bin/envoy", selectors=("unix:uid:1000",), spiffe_ids=("spiffe://example.org/web",)
)
RESOURCE = ResourceState("default", "v2", "0b", EPOCH, "v1", "0a", EPOCH, "v0", "bad key", "", 6, 5)


def stream(number: int) -> StreamState:
    return StreamState(f"run-{number}", "sotw", CALLER, "node-1", EPOCH, (RESOURCE,))


class FakeStreams:
    """A registry whose changes are put in by hand."""

    def __init__(self) -> None:
        self.open: tuple[StreamState, ...] = ()
        self.changed: list[StreamState] = []
        self.closed: list[str] = []
        self.starts_over = False

    def start_over(self) -> None:
        self.changed, self.closed, self.starts_over = list(self.open), [], True

    def changes(self, limit: int) -> StreamChanges:
        snapshot, self.starts_over = self.starts_over, False
        streams, self.changed = self.changed[:limit], self.changed[limit:]
        closed, self.closed = self.closed[:limit], self.closed[limit:]
        return StreamChanges(snapshot, tuple(streams), tuple(closed), more=bool(self.changed or self.closed))


class FakeLink:
    """Stands in for NodeLink and Upstream; `errors` are raised first."""

    def __init__(self) -> None:
        self.bundle_sequence = 7
        self.requests: list[node_pb2.ReportDeliveryRequest] = []
        self.errors: list[Exception] = []
        self.resync = False

    async def connected(self) -> FakeLink:
        return self

    async def report(self, request: node_pb2.ReportDeliveryRequest) -> node_pb2.ReportDeliveryResponse:
        if self.errors:
            raise self.errors.pop(0)
        self.requests.append(request)
        resync, self.resync = self.resync, False
        return node_pb2.ReportDeliveryResponse(resync=resync)


class Dropped:
    count = 0

    def dropped(self, count: int) -> None:
        self.count += count


class Kit:
    def __init__(
        self,
        queue: int = 100,
        interval: timedelta = timedelta(milliseconds=10),
        silent_for: timedelta = timedelta(0),
        run: str = "run",
        backlog: SpoolBacklog | None = None,
    ) -> None:
        self.streams = FakeStreams()
        self.link = FakeLink()
        self.dropped = Dropped()
        self.clock = FakeClock()
        self.reporter = Reporter(
            self.streams,
            self.link,  # type: ignore[arg-type]
            run,
            interval=interval,
            queue=queue,
            silent_for=silent_for,
            backoff=Backoff(timedelta(milliseconds=10), timedelta(milliseconds=10)),
            observer=self.dropped,
            clock=self.clock,
            log=get_logger("test"),
            backlog=backlog,
        )

    async def send(self) -> node_pb2.ReportDeliveryRequest:
        await self.reporter.send(self.link)  # type: ignore[arg-type]
        return self.link.requests[-1]


async def test_an_agent_without_streams_tells_its_bundle_and_tells_the_next_one() -> None:
    kit = Kit()
    running = asyncio.create_task(kit.reporter.run())
    try:
        await until(lambda: kit.link.requests)
        await asyncio.sleep(0.05)
        kit.link.bundle_sequence = 8
        kit.reporter.touch()
        await until(lambda: len(kit.link.requests) == 2)
    finally:
        running.cancel()
    assert [request.bundle_sequence for request in kit.link.requests] == [7, 8]


async def test_an_agent_vouches_for_a_bundle_only_when_all_streams_are_told() -> None:
    """The server opens a gate by what it was told, and would not miss a stream that it does not know of."""
    kit = Kit()
    kit.streams.open = tuple(stream(number) for number in range(2 * STREAMS_PER_REPORT + 1))
    assert [(await kit.send()).bundle_sequence for _ in range(3)] == [0, 0, 7]
    kit.link.bundle_sequence = 8
    kit.streams.changed = list(kit.streams.open[: STREAMS_PER_REPORT + 1])
    assert [(await kit.send()).bundle_sequence for _ in range(2)] == [7, 8]
    kit.link.resync = True
    assert (await kit.send()).bundle_sequence == 8
    assert [(await kit.send()).bundle_sequence for _ in range(3)] == [0, 0, 8]


async def test_after_a_restart_no_bundle_is_vouched_for_until_sidecars_have_had_time_to_return() -> None:
    """Whoever is still on his way back may have any older bundle, and the server knows of no stream of his."""
    kit = Kit(silent_for=timedelta(seconds=35))
    assert (await kit.send()).bundle_sequence == 0
    kit.clock.advance(34.9)
    assert (await kit.send()).bundle_sequence == 0
    kit.clock.advance(0.1)
    assert (await kit.send()).bundle_sequence == 7


async def test_when_the_time_of_a_restart_is_over_it_is_told_without_being_asked() -> None:
    kit = Kit(silent_for=timedelta(milliseconds=1))
    running = asyncio.create_task(kit.reporter.run())
    try:
        await until(lambda: kit.link.requests)
        kit.clock.advance(1)
        await until(lambda: len(kit.link.requests) == 2)
    finally:
        running.cancel()
    assert [request.bundle_sequence for request in kit.link.requests] == [0, 7]


async def test_the_first_report_of_a_run_is_a_snapshot_and_later_ones_are_changes() -> None:
    kit = Kit()
    kit.streams.open = (stream(1),)
    first = await kit.send()
    assert (first.run_id, first.sequence, first.snapshot) == ("run", 1, True)
    assert [state.id for state in first.streams] == ["run-1"]
    kit.streams.changed, kit.streams.closed = [stream(2)], ["run-1"]
    second = await kit.send()
    assert (second.sequence, second.snapshot) == (2, False)
    assert [state.id for state in second.streams] == ["run-2"]
    assert second.closed_stream_ids == ["run-1"]


async def test_everything_about_a_stream_is_told() -> None:
    kit = Kit()
    kit.streams.open = (stream(1),)
    (state,) = (await kit.send()).streams
    assert (state.protocol, state.node_id, list(state.spiffe_ids)) == ("sotw", "node-1", ["spiffe://example.org/web"])
    assert (state.process.pid, state.process.uid, state.process.path) == (7, 1000, "/bin/envoy")
    (resource,) = state.resources
    assert (resource.sent_version, resource.acked_version, resource.nacked_version) == ("v2", "v1", "v0")
    assert (resource.sent_serial, resource.acked_serial, resource.nack_detail) == ("0b", "0a", "bad key")
    assert (resource.sent_sequence, resource.acked_sequence) == (6, 5)
    assert resource.acked_at.seconds == int(EPOCH.timestamp())


async def test_an_event_is_told_in_full() -> None:
    kit = Kit()
    kit.reporter.add(SeenEvent(EPOCH, "secret.nacked", "failure", "bad key", CALLER, "run-1", "default", "v2"))
    (event,) = (await kit.send()).events
    assert (event.number, event.action, event.outcome, event.reason) == (1, "secret.nacked", "failure", "bad key")
    assert (event.stream_id, event.resource, event.version, event.process.pid) == ("run-1", "default", "v2", 7)
    assert list(event.selectors) == ["unix:uid:1000"]


async def test_a_report_that_was_not_taken_is_sent_again_as_it_was() -> None:
    kit = Kit()
    kit.streams.open = (stream(1),)
    kit.reporter.add(SeenEvent(EPOCH, "workload.attested", "success"))
    kit.link.errors = [ServerUnreachable("away")] * 2
    for _ in range(2):
        with pytest.raises(ServerUnreachable):
            await kit.send()
    kit.reporter.add(SeenEvent(EPOCH, "workload.refused", "refused"))
    again = await kit.send()
    assert (again.sequence, [event.number for event in again.events]) == (1, [1])
    later = await kit.send()
    assert (later.sequence, [event.number for event in later.events]) == (2, [2])


async def test_a_server_that_does_not_know_this_run_gets_a_snapshot() -> None:
    kit = Kit()
    await kit.send()
    kit.link.resync = True
    await kit.send()
    kit.streams.open = (stream(1), stream(2))
    report = await kit.send()
    assert (report.snapshot, len(report.streams), report.sequence) == (True, 2, 3)


async def test_a_full_queue_counts_what_it_drops_and_says_so() -> None:
    kit = Kit(queue=3)
    for uid in range(10):
        kit.reporter.add(SeenEvent(EPOCH, "workload.attested", "success", caller=CallerInfo(uid=uid)))
    report = await kit.send()
    assert (len(report.events), report.events_dropped) == (3, 7)
    assert kit.dropped.count == 7
    assert (await kit.send()).events_dropped == 0
    kit.reporter.add(SeenEvent(EPOCH, "workload.attested", "success", caller=CallerInfo(uid=11)))
    assert (await kit.send()).events[0].number == 11, "numbers show the gap"


async def test_a_user_who_floods_leaves_room_for_the_others_and_is_counted() -> None:
    kit = Kit(queue=100)
    for _ in range(500):
        kit.reporter.add(SeenEvent(EPOCH, "secret.refused", "refused", caller=CALLER))
    kit.reporter.add(SeenEvent(EPOCH, "secret.nacked", "failure", caller=CALLER))
    kit.reporter.add(SeenEvent(EPOCH, "secret.refused", "refused", caller=CallerInfo(uid=1001)))
    report = await kit.send()
    assert [event.action for event in report.events] == ["secret.refused"] * 50 + ["secret.nacked", "secret.refused"]
    assert (report.events_dropped, kit.dropped.count) == (450, 450)
    kit.clock.advance(1)
    for _ in range(100):
        kit.reporter.add(SeenEvent(EPOCH, "secret.refused", "refused", caller=CALLER))
    assert len((await kit.send()).events) == 5


async def test_a_report_that_the_server_cannot_read_does_not_block_the_next() -> None:
    kit = Kit()
    kit.reporter.add(SeenEvent(EPOCH, "workload.attested", "success"))
    kit.link.errors = [InvalidAnswer("not a report")]
    await kit.reporter.send(kit.link)  # type: ignore[arg-type]
    report = await kit.send()
    assert (report.snapshot, report.sequence, report.events_dropped) == (True, 2, 1)


async def test_large_states_go_out_in_pieces() -> None:
    kit = Kit()
    total = 2 * STREAMS_PER_REPORT + 10
    kit.streams.open = tuple(stream(number) for number in range(total))
    first = await kit.send()
    kit.streams.closed = [f"run-{number}" for number in range(STREAMS_PER_REPORT + 1)]
    second, third = await kit.send(), await kit.send()
    assert [len(report.streams) for report in (first, second, third)] == [STREAMS_PER_REPORT, STREAMS_PER_REPORT, 10]
    assert [report.snapshot for report in (first, second, third)] == [True, False, False]
    assert [state.id for report in (first, second, third) for state in report.streams] == [
        f"run-{number}" for number in range(total)
    ]
    assert [len(report.closed_stream_ids) for report in (first, second, third)] == [0, STREAMS_PER_REPORT, 1]


async def test_the_next_piece_does_not_wait_for_the_interval() -> None:
    kit = Kit(interval=timedelta(hours=1))
    kit.streams.open = tuple(stream(number) for number in range(3 * STREAMS_PER_REPORT))
    running = asyncio.create_task(kit.reporter.run())
    kit.reporter.touch()
    await until(lambda: sum(len(request.streams) for request in kit.link.requests) == 3 * STREAMS_PER_REPORT)
    kit.reporter.touch()
    await asyncio.sleep(0.05)
    assert len(kit.link.requests) == 3, "but what comes after that does"
    running.cancel()


async def test_many_events_go_out_in_pieces() -> None:
    kit = Kit(queue=10_000)
    for _ in range(EVENTS_PER_REPORT + 1):
        kit.reporter.add(SeenEvent(EPOCH, "workload.attested", "success"))
    assert [len((await kit.send()).events) for _ in range(2)] == [EVENTS_PER_REPORT, 1]


async def test_nothing_is_sent_while_nothing_happens_and_changes_are_gathered() -> None:
    kit = Kit()
    running = asyncio.create_task(kit.reporter.run())
    await until(lambda: kit.link.requests)
    await asyncio.sleep(0.05)
    assert len(kit.link.requests) == 1, "the first, which tells that there is nothing yet"
    for _ in range(100):
        kit.reporter.touch()
    await until(lambda: len(kit.link.requests) == 2)
    await asyncio.sleep(0.05)
    assert len(kit.link.requests) == 2
    kit.link.errors = [ServerUnreachable("away")]
    kit.reporter.add(SeenEvent(EPOCH, "workload.attested", "success"))
    await until(lambda: len(kit.link.requests) == 3)
    running.cancel()


async def test_a_report_says_which_numbers_have_been_given() -> None:
    kit = Kit(queue=4)
    for _ in range(4):
        kit.reporter.add(seen())
    request = await kit.send()
    assert [event.number for event in request.events] == [1, 2]
    assert (request.events_through, request.events_dropped, request.events_run_id) == (4, 2, "")


async def test_what_a_former_run_has_left_is_told_first_and_under_its_own_name(tmp_path: Path) -> None:
    def backlog(run: str) -> SpoolBacklog:
        folder, log = tmp_path / "spool", get_logger("test")
        bounds = {"queue": 100, "max_events": 1000, "max_bytes": 1 << 20}
        return SpoolBacklog(folder, run, **bounds, observer=Quiet(), log=log)

    killed = Kit(run="aa", backlog=backlog("aa"))
    killed.link.errors = [ServerUnreachable("away")]
    for _ in range(3):
        killed.reporter.add(seen())
    with pytest.raises(ServerUnreachable):
        await killed.send()
    kit = Kit(run="bb", backlog=backlog("bb"))
    kit.reporter.add(seen())
    requests = [await kit.send(), await kit.send()]
    told = [
        (one.events_run_id, [event.number for event in one.events], one.events_through, one.events_cut)
        for one in requests
    ]
    assert told == [("aa", [1, 2, 3], 3, True), ("", [1], 1, False)]
    assert [one.run_id for one in requests] == ["bb", "bb"]
    assert not list((tmp_path / "spool").glob("*.events"))


async def test_a_report_that_no_server_understands_is_not_in_the_way_of_the_next(tmp_path: Path) -> None:
    folder, log = tmp_path / "spool", get_logger("test")
    spool = SpoolBacklog(folder, "aa", queue=9, max_events=1000, max_bytes=1 << 20, observer=Quiet(), log=log)
    kit = Kit(run="aa", backlog=spool)
    kit.reporter.add(seen())
    kit.link.errors = [InvalidAnswer("what?")]
    await kit.reporter.send(kit.link)  # type: ignore[arg-type]
    kit.reporter.add(seen())
    request = await kit.send()
    assert ([event.number for event in request.events], request.events_through, request.events_dropped) == ([2], 2, 1)


class Quiet:
    def spool(self, events: int, size: int, failing: bool) -> None:
        return


def seen() -> SeenEvent:
    return SeenEvent(EPOCH, "workload.attested", "success")
