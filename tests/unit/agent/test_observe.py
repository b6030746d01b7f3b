from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from attestation.attestor import Process
from sds.agent.cache.wanted import NoSecrets
from sds.agent.observe import ConnectionObserver, QuietLog, ServerObserver, StreamObserver, WorkloadEvents
from sds.agent.report import SeenEvent
from sds.agent.workload import Workload
from sds.delivery.messages import OTHER_TYPE, STALE_NONCE
from sds.delivery.ports import CallerInfo
from sds.logs import get_logger
from sds.metrics import AgentMetrics
from sds.net.limits import Caps
from sds.net.process import LocalProcess
from tests.fakes.clock import FakeClock
from tests.unit.agent.entries import entry, selectors
from tests.unit.agent.peer_kit import FakeMemory


class FakeReporter:
    def __init__(self) -> None:
        self.events: list[SeenEvent] = []
        self.touched = 0

    def add(self, event: SeenEvent) -> None:
        self.events.append(event)

    def touch(self) -> None:
        self.touched += 1


CALLER = CallerInfo(pid=7, uid=1000)


@dataclass(frozen=True)
class Stream:
    id: str = "run-1"
    protocol: str = "sotw"
    caller: CallerInfo = CALLER
    node_id: str = "node"


class Kit:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = AgentMetrics(self.registry)
        self.reporter = FakeReporter()
        self.clock = FakeClock()
        log = get_logger("test")
        self.streams = StreamObserver(self.metrics, self.reporter, self.clock, log)  # type: ignore[arg-type]
        self.workloads = WorkloadEvents(self.metrics, self.reporter, self.clock, log)  # type: ignore[arg-type]
        self.connections = ConnectionObserver(self.metrics, self.clock, log)
        self.server = ServerObserver(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def kit() -> Kit:
    return Kit()


def workload(*texts: str, matching: bool = True) -> Workload:
    made = Workload(Process(7, 1000, 1000, 5), FakeMemory(), Caps(10, 10), NoSecrets())
    made.group.selectors = selectors(*texts)
    made.group.entries = (entry(),) if matching else ()
    return made


def test_pushes_and_acks_are_counted_and_timed(kit: Kit) -> None:
    kit.streams.opened(Stream())
    kit.streams.sent(Stream(), "default", "v1")
    kit.streams.acked(Stream(), "default", "v1", 0.004)
    assert kit.value("sds_agent_streams", protocol="sotw") == 1
    assert kit.value("sds_agent_pushes_total") == 1
    assert kit.value("sds_agent_acks_total") == 1
    assert kit.value("sds_agent_push_to_ack_seconds_sum") == pytest.approx(0.004)
    kit.streams.closed(Stream(), "")
    assert kit.value("sds_agent_streams", protocol="sotw") == 0
    assert kit.reporter.touched == 4
    assert not kit.reporter.events


def test_an_answer_that_there_is_nothing_is_no_push(kit: Kit) -> None:
    kit.streams.sent(Stream(), "unknown", "")
    kit.streams.acked(Stream(), "unknown", "", 0.1)
    assert kit.value("sds_agent_pushes_total") == 0
    assert kit.value("sds_agent_acks_total") == 0


def test_a_nack_is_an_event_with_the_sidecars_words(kit: Kit) -> None:
    with capture_logs() as lines:
        kit.streams.nacked(Stream(), "default", "v1", "KEY_VALUES_MISMATCH")
    assert kit.value("sds_agent_nacks_total") == 1
    (event,) = kit.reporter.events
    assert (event.action, event.outcome, event.reason) == ("secret.nacked", "failure", "KEY_VALUES_MISMATCH")
    assert (event.resource, event.version, event.stream_id, event.caller.pid) == ("default", "v1", "run-1", 7)
    assert lines[0]["detail"] == "KEY_VALUES_MISMATCH"


def test_a_name_that_may_not_be_had_is_an_event(kit: Kit) -> None:
    kit.streams.refused(Stream(), "spiffe://example.org/other", "unknown or not granted")
    (event,) = kit.reporter.events
    assert (event.action, event.outcome, event.resource) == ("secret.refused", "refused", "spiffe://example.org/other")
    assert kit.value("sds_agent_requests_ignored_total", reason="not_granted") == 1


def test_requests_that_mean_nothing_are_counted_by_kind(kit: Kit) -> None:
    kit.streams.ignored(Stream(), OTHER_TYPE)
    kit.streams.ignored(Stream(), STALE_NONCE)
    assert kit.value("sds_agent_requests_ignored_total", reason="unknown_type") == 1
    assert kit.value("sds_agent_requests_ignored_total", reason="other") == 1


def test_attestations(kit: Kit) -> None:
    kit.workloads.attested(workload("unix:uid:1000"))
    kit.workloads.attested(workload("unix:uid:1000"))
    kit.workloads.matched(workload("unix:uid:1000"))
    assert kit.value("sds_agent_workload_attestations_total", outcome="success") == 2
    (event,) = kit.reporter.events
    assert (event.action, event.outcome, event.caller.spiffe_ids) == (
        "workload.attested",
        "success",
        ("spiffe://example.org/e1",),
    )


def test_who_gets_nothing_is_logged_with_the_selectors_that_he_had(kit: Kit) -> None:
    with capture_logs() as lines:
        kit.workloads.unmatched(workload("unix:uid:1000", "unix:path:/bin/x", matching=False))
    assert lines[0]["selectors"] == ("unix:path:/bin/x", "unix:uid:1000")
    assert (lines[0]["pid"], lines[0]["path"]) == (7, "/bin/x")
    assert [(event.action, event.outcome) for event in kit.reporter.events] == [("workload.refused", "refused")]


def test_a_refused_or_broken_attestation(kit: Kit) -> None:
    process = Process(7, 1000, 1000, 5)
    with capture_logs() as lines:
        kit.workloads.refused(process, "the process has ended")
        kit.workloads.broke(process, RuntimeError("boom"))
    assert kit.value("sds_agent_workload_attestations_total", outcome="refused") == 1
    assert kit.value("sds_agent_workload_attestations_total", outcome="failure") == 1
    assert [line["log_level"] for line in lines] == ["warning", "error"]


def test_connections(kit: Kit) -> None:
    peer = LocalProcess(Process(7, 1000, 1000, 5), -1, lambda _: 5)
    kit.connections.opened(peer)
    kit.connections.opened(peer)
    kit.connections.closed(peer, "closed")
    with capture_logs() as lines:
        kit.connections.refused(peer, "per_peer")
        kit.connections.refused(None, "no_credentials")
        kit.connections.accept_failed("Too many open files")
    assert kit.value("sds_agent_connections") == 1
    assert kit.value("sds_agent_connections_refused_total", reason="per_peer") == 1
    assert kit.value("sds_agent_connections_refused_total", reason="no_credentials") == 1
    assert lines[0]["uid"] == 1000
    assert "LimitNOFILE" in lines[2]["event"]


def test_what_hears_of_the_server(kit: Kit) -> None:
    kit.server.connected(True)
    kit.server.skew(-2.5)
    kit.server.renewed("success")
    kit.server.issued("failure", 3)
    kit.server.dropped(4)
    assert kit.value("sds_agent_upstream_connected") == 1
    assert kit.value("sds_agent_clock_skew_seconds") == -2.5
    assert kit.value("sds_agent_renewals_total", whose="agent", outcome="success") == 1
    assert kit.value("sds_agent_renewals_total", whose="workload", outcome="failure") == 3
    assert kit.value("sds_agent_report_events_dropped_total") == 4
    kit.server.connected(False)
    assert kit.value("sds_agent_upstream_connected") == 0


def test_a_caller_cannot_flood_the_log_and_nothing_is_hidden() -> None:
    clock = FakeClock()
    quiet = QuietLog(get_logger("test"), clock)
    with capture_logs() as lines:
        for number in range(1000):
            quiet.warning("provoked", number=number)
        clock.advance(10)
        quiet.warning("provoked", number=1000)
        quiet.warning("another", number=1)
    assert len(lines) == 52
    assert lines[50] == {"event": "provoked", "log_level": "warning", "number": 1000, "lines_left_out": 950}


def test_crashes_and_the_rest_are_told(kit: Kit) -> None:
    with capture_logs() as lines:
        kit.streams.crashed("sotw", RuntimeError("boom"))
        kit.streams.resumed(Stream(), 2)
        kit.streams.rejected("unix:", "sotw", "not attested")
        kit.streams.closed(Stream(), "too many names")
    assert [line["log_level"] for line in lines] == ["error", "info", "warning", "warning"]
