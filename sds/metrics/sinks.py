"""What `sds server` tells Prometheus of the audit log's sinks. Labels are the names in the configuration."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class AuditSinkMetrics:
    """Made with ServerMetrics."""

    def __init__(self, r: CollectorRegistry) -> None:
        label = ("sink",)
        self.lag_events = Gauge(
            "sds_server_audit_sink_lag_events", "Audit events that a sink has not been given.", label, registry=r
        )
        self.lag_seconds = Gauge(
            "sds_server_audit_sink_lag_seconds", "Age of the first event that a sink lacks.", label, registry=r
        )
        self.problem = Gauge(
            "sds_server_audit_sink_problem", "1 while a sink does not take what it is told.", label, registry=r
        )
        self.delivered = Counter(
            "sds_server_audit_sink_delivered", "Events and checkpoints that a sink has taken.", label, registry=r
        )
        self.failures = Counter(
            "sds_server_audit_sink_failures", "Deliveries that a sink has not taken.", label, registry=r
        )
