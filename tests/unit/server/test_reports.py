"""How many events one agent may have audited. What a report does is in tests/contract/node/test_report.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from attestation.spiffe_id import SpiffeId
from sds._pb.sds.node.v1 import node_pb2
from sds.net.limits import Rate
from sds.server.agent_reports.report import Report, parse_report
from sds.server.events import Events
from sds.server.reports import Reports
from tests.fakes.clock import EPOCH

ONE = SpiffeId.parse("spiffe://example.org/sds/agent/one")
TWO = SpiffeId.parse("spiffe://example.org/sds/agent/two")


def report(events: int, dropped: int = 0) -> Report:
    seen = [node_pb2.DeliveryEvent(number=n + 1, action="secret.refused", outcome="refused") for n in range(events)]
    request = node_pb2.ReportDeliveryRequest(run_id="run", sequence=1, events=seen, events_dropped=dropped)
    return parse_report(request, ONE, EPOCH)


def test_an_agent_that_floods_the_log_is_cut_short_and_counted_and_no_other_is() -> None:
    reports = Reports(cast("Any", None), Events("node"), cast("Any", None), Rate(per_second=2.0, burst=10))
    first = reports.within_share(ONE, report(25, dropped=3), EPOCH)
    assert ([event.number for event in first.events], first.events_dropped) == (list(range(1, 11)), 18)
    other = reports.within_share(TWO, report(5), EPOCH)
    assert (len(other.events), other.events_dropped) == (5, 0)
    later = reports.within_share(ONE, report(25), EPOCH + timedelta(seconds=2))
    assert (len(later.events), later.events_dropped) == (4, 21)
