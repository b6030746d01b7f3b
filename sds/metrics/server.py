"""What `sds server` tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram

from sds.metrics.kinds import (
    AUTHORITY_KINDS,
    BATCH_BUCKETS,
    BLOCK_KINDS,
    DURATION_BUCKETS,
    LISTENERS,
    METHODS,
    OUTCOMES,
    POLLS,
    PROFILES,
    PUBLIC_ENDPOINTS,
    PUSH_BUCKETS,
    REFUSED_CONNECTIONS,
    ROTATION_OUTCOMES,
    ROTATION_STEPS,
    STATUSES,
    Counters,
    counter,
    gauge,
)
from sds.metrics.leases import LeaseMetrics
from sds.metrics.ledger import LedgerMetrics
from sds.metrics.notices import NoticeMetrics
from sds.metrics.secrets import SecretMetrics
from sds.metrics.sinks import AuditSinkMetrics
from sds.metrics.vault import VaultMetrics


class ServerMetrics:
    """What `sds server` tells Prometheus. Hot paths call the bound methods kept here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._issuing(registry)
        self._calls(registry)
        self._store(registry)
        self._listeners(registry)
        self._public(registry)
        self._federation(registry)
        self._authorities(registry)
        self._rotation(registry)
        self._revocation(registry)
        self.secrets = SecretMetrics(registry)
        self.leases = LeaseMetrics(registry)
        self.ledger = LedgerMetrics(registry)
        self.vault = VaultMetrics(registry)
        self.notices = NoticeMetrics(registry)
        self.audit_sinks = AuditSinkMetrics(registry)

    def _issuing(self, r: CollectorRegistry) -> None:
        self.issued = Counters(
            "sds_server_issued", "Certificates and tokens issued or refused.", r, profile=PROFILES, outcome=OUTCOMES
        )
        self.signing_batch = Histogram(
            "sds_server_signing_batch_size", "Requests signed in one transaction.", buckets=BATCH_BUCKETS, registry=r
        ).observe
        self.signing_seconds = Histogram(
            "sds_server_signing_batch_seconds", "Time of one signing transaction.", buckets=DURATION_BUCKETS, registry=r
        ).observe
        self.signing_workers = gauge("sds_server_signing_workers", "Processes that sign for the server now.", r)
        self.signing_workers_lost = counter(
            "sds_server_signing_workers_lost", "Signing processes that ended by themselves.", r
        )
        self.attestations = Counters(
            "sds_server_node_attestations",
            "Attestations of nodes.",
            r,
            type=("join_token", "renewal", "other"),
            outcome=OUTCOMES,
        )
        self.refusals = Counters(
            "sds_server_refusals",
            "Calls refused for who made them, and entries asked for by agents that they are not for.",
            r,
            action=("agent.attest", "node.call", "certificate.issue", "token.issue", "secret.refused", "other"),
        )

    def _calls(self, r: CollectorRegistry) -> None:
        self.calls = Counters("sds_server_calls", "gRPC calls that ended.", r, method=METHODS, status=STATUSES)
        seconds = Histogram(
            "sds_server_call_seconds", "Time of a gRPC call.", ("method",), buckets=DURATION_BUCKETS, registry=r
        )
        self._call_seconds = {method: seconds.labels(method).observe for method in METHODS}
        self.watch_streams = gauge("sds_server_watch_streams", "WatchAuthorized streams open now.", r)
        self.agents_connected = gauge(
            "sds_server_agents_connected", "Agents with a WatchAuthorized stream open now.", r
        )

    def _store(self, r: CollectorRegistry) -> None:
        self.entries = gauge("sds_server_entries", "Registration entries.", r)
        self.change_to_watch = Histogram(
            "sds_server_change_to_watch_seconds",
            "From the commit of a change to its message on a watch stream.",
            buckets=PUSH_BUCKETS,
            registry=r,
        ).observe
        self.transactions = Counters(
            "sds_server_store_transactions",
            "Database transactions.",
            r,
            mode=("read", "write"),
            outcome=("success", "retried", "conflict", "unavailable", "failure"),
        )
        seconds = Histogram(
            "sds_server_store_transaction_seconds",
            "Time of a database transaction.",
            ("mode",),
            buckets=DURATION_BUCKETS,
            registry=r,
        )
        self.read_seconds = seconds.labels("read").observe
        self.write_seconds = seconds.labels("write").observe
        self.audit_events = Counters("sds_server_audit_events", "Audit events appended.", r, outcome=OUTCOMES)
        self.report_lag = Histogram(
            "sds_server_report_lag_seconds",
            "From what an agent saw to its report being stored.",
            buckets=PUSH_BUCKETS,
            registry=r,
        ).observe
        self.reported_events_dropped = counter(
            "sds_server_reported_events_dropped", "Events that agents had to drop before they could report them.", r
        )

    def _listeners(self, r: CollectorRegistry) -> None:
        self.health = Gauge(
            "sds_server_health", "1 while a check of `/ready` finds nothing wrong.", ("check",), registry=r
        )
        self.admin_requests = Counters(
            "sds_server_admin_requests",
            "Requests to the admin API.",
            r,
            method=("GET", "POST", "PUT", "DELETE", "other"),
            status=("2xx", "3xx", "4xx", "5xx"),
        )
        self.admin_turned_away = Counters(
            "sds_server_admin_turned_away",
            "Requests of the network that the admin API let in to nothing, by why.",
            r,
            reason=("host", "origin", "rate", "credentials", "role"),
        )
        self.admin_reads_unnoted = counter(
            "sds_server_admin_reads_unnoted",
            "Reads by the admin API that went on although the audit log could not be told of them.",
            r,
        )
        self.connections_refused = Counters(
            "sds_server_connections_refused",
            "Connections closed before they were served.",
            r,
            listener=LISTENERS,
            reason=REFUSED_CONNECTIONS,
        )
        connections = Gauge("sds_server_connections", "Connections open now.", ("listener",), registry=r)
        self.connections = {listener: connections.labels(listener) for listener in LISTENERS}

    def _public(self, r: CollectorRegistry) -> None:
        self.public_requests = Counters(
            "sds_server_public_requests",
            "Requests to the public endpoints.",
            r,
            endpoint=PUBLIC_ENDPOINTS,
            status=("2xx", "3xx", "4xx", "5xx"),
        )
        self.endpoint_certificate_expiry = gauge(
            "sds_server_endpoint_certificate_expiry_timestamp_seconds",
            "When the first certificate of `endpoints.*.cert_file` expires; 0: there is none.",
            r,
        )

    def _federation(self, r: CollectorRegistry) -> None:
        self.federation_polls = Counters(
            "sds_server_federation_polls", "Polls of other trust domains' bundle endpoints.", r, outcome=POLLS
        )
        self._federation_age = Gauge(
            "sds_server_federation_age_seconds",
            "Time since another trust domain's endpoint last answered with a good bundle.",
            ("trust_domain",),  # administrators name them, and their number is bounded
            registry=r,
        )

    def _authorities(self, r: CollectorRegistry) -> None:
        self._authority_expiry = Gauge(
            "sds_server_authority_expiry_timestamp_seconds", "When an authority expires.", ("kind", "state"), registry=r
        )
        self._upstream_up = Gauge(
            "sds_server_upstream_up",
            "1 while the upstream authority can certify a new authority.",
            ("upstream",),
            registry=r,
        )
        self._upstream_expiry = Gauge(
            "sds_server_upstream_expiry_timestamp_seconds",
            "When the upstream authority expires, and with it all that it certifies.",
            ("upstream",),
            registry=r,
        )
        self._key_manager_up = Gauge(
            "sds_server_key_manager_up",
            "1 while a key manager's keys can be used, all that authorities have with it.",
            ("key_manager",),
            registry=r,
        )

    def _rotation(self, r: CollectorRegistry) -> None:
        self.rotation_steps = Counters(
            "sds_server_rotation_steps",
            "Steps in the life of authorities.",
            r,
            kind=AUTHORITY_KINDS,
            step=ROTATION_STEPS,
            outcome=ROTATION_OUTCOMES,
        )
        gate = Gauge(
            "sds_server_rotation_gate",
            "Agents and streams that the prepared authority waits for, and how many of them have its bundle; "
            "0 where none is prepared.",
            ("kind", "count"),
            registry=r,
        )
        self.rotation_gate = {k: (gate.labels(k, "total"), gate.labels(k, "acked")) for k in AUTHORITY_KINDS}
        problem = Gauge(
            "sds_server_rotation_problem",
            "1 while something is due in the rotation of authorities that cannot be done.",
            ("kind",),
            registry=r,
        )
        self.rotation_problem = {kind: problem.labels(kind) for kind in AUTHORITY_KINDS}

    def _revocation(self, r: CollectorRegistry) -> None:
        self.revocations = Counters("sds_server_revocations", "Decisions to revoke.", r, kind=BLOCK_KINDS)
        self.revocation_seconds = Histogram(
            "sds_server_revocation_seconds",
            "From the request to revoke to the CRLs that say it.",
            buckets=DURATION_BUCKETS,
            registry=r,
        ).observe
        self.revoked = gauge("sds_server_revoked_certificates", "Unexpired certificates that are revoked.", r)
        self.crls = counter("sds_server_crls", "Revocation lists that were signed.", r)
        self.crl_seconds = Histogram(
            "sds_server_crl_seconds", "Time to make one revocation list.", buckets=DURATION_BUCKETS, registry=r
        ).observe
        self.revocation_problem = gauge(
            "sds_server_revocation_problem", "1 while the CRLs do not say all that is revoked.", r
        )

    def call_seconds(self, method: str, seconds: float) -> None:
        """A call has ended; watch streams are left out, for they last as long as the agent."""
        if method not in {"WatchAuthorized", "WatchSecrets"}:
            self._call_seconds.get(method, self._call_seconds[METHODS[-1]])(seconds)

    def federations(self, ages: Iterable[tuple[str, float]]) -> None:
        """All trust domains whose endpoints are polled, with their ages; those of an earlier call are forgotten."""
        self._federation_age.clear()
        for trust_domain, seconds in ages:
            self._federation_age.labels(trust_domain).set(seconds)

    def authorities(self, slots: Iterable[tuple[str, str, datetime]]) -> None:
        """All authorities there are, as (kind, state, not after); those of an earlier call are forgotten."""
        self._authority_expiry.clear()
        for kind, state, not_after in slots:
            self._authority_expiry.labels(kind, state).set(not_after.timestamp())

    def upstream_up(self, name: str, up: bool) -> None:
        """`name` is one of ca.catalog.UPSTREAMS."""
        self._upstream_up.labels(name).set(up)

    def upstream_expires(self, name: str, not_after: datetime) -> None:
        """`name` as above."""
        self._upstream_expiry.labels(name).set(not_after.timestamp())

    def key_manager_up(self, name: str, up: bool) -> None:
        """`name` is one of ca.catalog.KEY_MANAGERS."""
        self._key_manager_up.labels(name).set(up)
