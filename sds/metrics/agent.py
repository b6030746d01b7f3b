"""What `sds agent` tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from sds.hot_metrics import HotCounter, HotHistogram
from sds.metrics.kinds import (
    API_OUTCOMES,
    IGNORED,
    OUTCOMES,
    PROTOCOLS,
    PUSH_BUCKETS,
    REFUSED_CONNECTIONS,
    SECRET_STATES,
    SINK_OUTCOMES,
    Counters,
    counter,
    gauge,
)


class AgentMetrics:
    """What `sds agent` tells Prometheus. Hot paths call the bound methods kept here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._callers(registry)
        self._identities(registry)
        self._secrets(registry)
        self._upstream(registry)
        self._audit(registry)
        self._earliest_expiry = gauge(
            "sds_agent_earliest_expiry_timestamp_seconds",
            "When the first certificate expires if nothing renews; 0: none.",
            registry,
        )
        self._outage_budget = gauge(
            "sds_agent_outage_budget_seconds",
            "Time until the first certificate expires if nothing renews from now.",
            registry,
        )

    def _callers(self, r: CollectorRegistry) -> None:
        streams = Gauge("sds_agent_streams", "SDS, ADS and Workload API streams open now.", ("protocol",), registry=r)
        self.streams = {protocol: streams.labels(protocol) for protocol in PROTOCOLS[:-1]}
        self.pushes = HotCounter("sds_agent_pushes", "Resources sent to sidecars.", r).inc
        self.acks = HotCounter("sds_agent_acks", "Resources that sidecars accepted.", r).inc
        self.nacks = counter("sds_agent_nacks", "Resources that sidecars rejected.", r).inc
        self.push_to_ack = HotHistogram(
            "sds_agent_push_to_ack_seconds", "From sending a resource to its ACK.", r, PUSH_BUCKETS
        ).observe
        self.ignored = Counters(
            "sds_agent_requests_ignored", "Requests or names answered with nothing.", r, reason=IGNORED
        )
        self.attestations = Counters(
            "sds_agent_workload_attestations", "Attestations of processes.", r, outcome=OUTCOMES
        )
        self.connections = gauge("sds_agent_connections", "Connections on the public socket open now.", r)
        self.connections_refused = Counters(
            "sds_agent_connections_refused",
            "Connections closed before they were served.",
            r,
            reason=REFUSED_CONNECTIONS,
        )

    def _identities(self, r: CollectorRegistry) -> None:
        self.svids = gauge("sds_agent_svids", "X.509-SVIDs held in memory.", r)
        self.svids_distrusted = gauge(
            "sds_agent_svids_distrusted",
            "X.509-SVIDs that are replaced before their time: revoked, or of a tainted or removed authority.",
            r,
        )
        self.tokens = gauge("sds_agent_tokens", "JWT-SVIDs held in memory.", r)
        self.tokens_requested = Counters(
            "sds_agent_token_requests",
            "JWT-SVIDs that workloads asked for; `cached` were in memory.",
            r,
            outcome=("cached", *OUTCOMES),
        )
        self.tokens_validated = Counters(
            "sds_agent_token_validations", "JWT-SVIDs that workloads had validated.", r, outcome=("success", "refused")
        )
        self.renewals = Counters(
            "sds_agent_renewals", "Renewals of SVIDs.", r, whose=("workload", "agent"), outcome=OUTCOMES
        )

    def _secrets(self, r: CollectorRegistry) -> None:
        """Named secrets. No label says which: their names are many."""
        wanted = Gauge(
            "sds_agent_secrets",
            "Named secrets that local workloads want, each identity's for itself, by what is known of them.",
            ("state",),
            registry=r,
        )
        self.secrets = {state: wanted.labels(state) for state in SECRET_STATES}
        self.secrets_stale = gauge(
            "sds_agent_secrets_stale", "Of these, last good values that the server cannot get anew now.", r
        )
        self.secret_values = counter("sds_agent_secret_values", "Values of secrets that the server sent.", r).inc
        self.secrets_rejected = counter(
            "sds_agent_secrets_rejected", "Values that the server sent and that could not be used.", r
        ).inc
        self.secrets_expired = counter(
            "sds_agent_secrets_expired", "Values that ended before there was another one.", r
        ).inc
        self.api_requests = Counters(
            "sds_agent_api_requests", "Requests of applications for secrets.", r, outcome=API_OUTCOMES
        )
        self.sinks_waiting = gauge(
            "sds_agent_sinks_waiting",
            "Files of secrets that are not as they should be, or whose reader does not know.",
            r,
        )
        self.sink_writes = Counters(
            "sds_agent_sink_writes", "What became of files of secrets.", r, outcome=SINK_OUTCOMES
        )
        self.secrets_connected = gauge(
            "sds_agent_secrets_connected",
            "1 while the server tells changes of secrets; 0 also if none is wanted.",
            r,
        )

    def _upstream(self, r: CollectorRegistry) -> None:
        self.upstream_connected = gauge("sds_agent_upstream_connected", "1 while the server can be reached.", r)
        self.clock_skew = gauge("sds_agent_clock_skew_seconds", "The server's clock minus this host's.", r)
        self.reports_dropped = counter(
            "sds_agent_report_events_dropped", "Events dropped because the queue was full.", r
        )
        self.spool_events = gauge("sds_agent_spool_events", "Events on disk that the server has not taken in.", r)
        self.spool_bytes = gauge("sds_agent_spool_bytes", "Size of the spool of events.", r)
        self.spool_failing = gauge("sds_agent_spool_failing", "1 while the spool cannot be written.", r)

    def _audit(self, r: CollectorRegistry) -> None:
        self.checkpoint_size = gauge(
            "sds_agent_audit_checkpoint_size", "Events under the newest checkpoint of the server's audit log.", r
        )
        self.checkpoint_alarms = counter(
            "sds_agent_audit_checkpoint_alarms",
            "Times that the server's audit log contradicted what it was before.",
            r,
        )

    def watch_outage_budget(self, earliest: Callable[[], datetime | None], now: Callable[[], datetime]) -> None:
        """Let both gauges be computed when they are read. `earliest` is None while nothing is held: budget +Inf."""

        def timestamp() -> float:
            first = earliest()
            return first.timestamp() if first else 0.0

        def budget() -> float:
            first = earliest()
            return (first - now()).total_seconds() if first else float("inf")

        self._earliest_expiry.set_function(timestamp)
        self._outage_budget.set_function(budget)
