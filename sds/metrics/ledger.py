"""What `sds server` tells Prometheus of the audit log's tree."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from sds.metrics.kinds import counter, gauge


class LedgerMetrics:
    """Made with ServerMetrics."""

    def __init__(self, r: CollectorRegistry) -> None:
        self.size = gauge("sds_server_audit_tree_size", "Events that this server has seen under a checkpoint.", r)
        self.checkpoint_time = gauge(
            "sds_server_audit_checkpoint_timestamp_seconds",
            "When this server last signed a checkpoint of the audit log.",
            r,
        )
        self.waiting = gauge(
            "sds_server_audit_waiting_seconds", "For how long events wait for a checkpoint; 0 while none does.", r
        )
        self.failures = counter(
            "sds_server_audit_sequencing_failures", "Times that events could not be put under a checkpoint.", r
        )
