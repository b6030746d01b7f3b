"""What sinks tell, as metrics. Implements WatchObserver and FeedObserver."""

from __future__ import annotations

from sds.metrics.sinks import AuditSinkMetrics
from sds.server.audit_sinks.watch import SinkStanding


class SinkTelemetry:
    def __init__(self, metrics: AuditSinkMetrics) -> None:
        self._metrics = metrics

    def sink(self, standing: SinkStanding) -> None:
        self._metrics.lag_events.labels(standing.name).set(standing.lag_events)
        self._metrics.lag_seconds.labels(standing.name).set(standing.lag_seconds)
        self._metrics.problem.labels(standing.name).set(bool(standing.problem))

    def delivered(self, sink: str, events: int) -> None:
        self._metrics.delivered.labels(sink).inc(events)

    def failed(self, sink: str) -> None:
        self._metrics.failures.labels(sink).inc()
