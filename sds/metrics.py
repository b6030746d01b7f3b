"""Prometheus metrics. No label ever holds a secret, a name that a caller chose, or an unbounded set of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sds.hot_metrics import HotCounter, HotHistogram

PUSH_BUCKETS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0
)  # fmt: skip
DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

PROFILES = ("workload", "agent", "server", "jwt", "intermediate", "authority")
"""What is issued (ca.profile); `jwt` are JWT-SVIDs, `intermediate` what servers below get."""
OUTCOMES = ("success", "refused", "failure")
"""As in the audit log: refused is a decision, failure is something broken."""
PROTOCOLS = ("sotw", "delta", "ads-sotw", "ads-delta", "workload-api", "fetch")
METHODS = (
    "Attest",
    "Renew",
    "SignX509Svids",
    "SignJwtSvids",
    "SignIntermediate",
    "OcspStaples",
    "ReportDelivery",
    "WatchAuthorized",
    "other",
)
"""Of the node API."""
STATUSES = (
    "OK", "CANCELLED", "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL", "other",
)  # fmt: skip
"""gRPC status codes that the server answers with."""
REFUSED_CONNECTIONS = ("rate", "total", "per_peer", "no_credentials", "other")
"""`rate`, `total` and `per_peer`: which limit was met. `no_credentials`: the kernel could not tell who it was."""
LISTENERS = ("main", "attest", "public")
"""`main` and `attest` are the node API's; `public` is all of `endpoints`."""
POLLS = ("success", "unchanged", "refused", "unauthenticated", "unreachable", "failure")
PUBLIC_ENDPOINTS = ("bundle", "oidc", "jwks", "crl", "ocsp", "other")
BLOCK_KINDS = ("serial", "spiffe_id", "key", "entry", "agent", "authority")
"""What a revocation names (sds.store.revocation.records)."""
IGNORED = ("unknown_type", "not_granted", "other")

AUTHORITY_KINDS = ("x509", "jwt")
ROTATION_STEPS = ("prepare", "activate", "taint", "revoke", "drop")
ROTATION_OUTCOMES = ("success", "lost", "failure")
"""`lost`: another replica was faster."""


class Counters:
    """A counter whose label combinations are made at the start, so that counting is one dictionary look-up.

    An unexpected label value counts as the last of its list instead of growing a new series.
    """

    __slots__ = ("_children", "_labels")

    def __init__(self, name: str, about: str, registry: CollectorRegistry, /, **labels: tuple[str, ...]) -> None:
        counter = Counter(name, about, tuple(labels), registry=registry)
        self._labels = tuple(labels.values())
        self._children = {values: counter.labels(*values) for values in product(*self._labels)}

    def inc(self, *labels: str, by: float = 1) -> None:
        """Count for these label values, given in the order of the declaration."""
        child = self._children.get(labels)
        if child is None:
            known = tuple(v if v in allowed else allowed[-1] for v, allowed in zip(labels, self._labels, strict=True))
            child = self._children[known]
        child.inc(by)


def _counter(name: str, about: str, registry: CollectorRegistry) -> Counter:
    return Counter(name, about, registry=registry)


def _gauge(name: str, about: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, about, registry=registry)


class ServerMetrics:
    """What `sds server` tells Prometheus. Hot paths call the bound methods kept here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._issuing(registry)
        self._calls(registry)
        self._store(registry)
        self._callers(registry)

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
        self.signing_workers = _gauge("sds_server_signing_workers", "Processes that sign for the server now.", r)
        self.signing_workers_lost = _counter(
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
            action=("agent.attest", "node.call", "certificate.issue", "token.issue", "other"),
        )

    def _calls(self, r: CollectorRegistry) -> None:
        self.calls = Counters("sds_server_calls", "gRPC calls that ended.", r, method=METHODS, status=STATUSES)
        seconds = Histogram(
            "sds_server_call_seconds", "Time of a gRPC call.", ("method",), buckets=DURATION_BUCKETS, registry=r
        )
        self._call_seconds = {method: seconds.labels(method).observe for method in METHODS}
        self.watch_streams = _gauge("sds_server_watch_streams", "WatchAuthorized streams open now.", r)
        self.agents_connected = _gauge(
            "sds_server_agents_connected", "Agents with a WatchAuthorized stream open now.", r
        )

    def _store(self, r: CollectorRegistry) -> None:
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
        self.reported_events_dropped = _counter(
            "sds_server_reported_events_dropped", "Events that agents had to drop before they could report them.", r
        )

    def _callers(self, r: CollectorRegistry) -> None:
        self.admin_requests = Counters(
            "sds_server_admin_requests",
            "Requests to the admin API.",
            r,
            method=("GET", "POST", "PUT", "DELETE", "other"),
            status=("2xx", "3xx", "4xx", "5xx"),
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
        self.public_requests = Counters(
            "sds_server_public_requests",
            "Requests to the public endpoints.",
            r,
            endpoint=PUBLIC_ENDPOINTS,
            status=("2xx", "3xx", "4xx", "5xx"),
        )
        self.federation_polls = Counters(
            "sds_server_federation_polls", "Polls of other trust domains' bundle endpoints.", r, outcome=POLLS
        )
        self._federation_age = Gauge(
            "sds_server_federation_age_seconds",
            "Time since another trust domain's endpoint last answered with a good bundle.",
            ("trust_domain",),  # administrators name them, and their number is bounded
            registry=r,
        )
        self.endpoint_certificate_expiry = _gauge(
            "sds_server_endpoint_certificate_expiry_timestamp_seconds",
            "When the first certificate of `endpoints.*.cert_file` expires; 0: there is none.",
            r,
        )
        self._authority_expiry = Gauge(
            "sds_server_authority_expiry_timestamp_seconds", "When an authority expires.", ("kind", "state"), registry=r
        )
        self._rotation(r)
        self._revocation(r)
        self.entries = _gauge("sds_server_entries", "Registration entries.", r)
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

    def _revocation(self, r: CollectorRegistry) -> None:
        self.revocations = Counters("sds_server_revocations", "Decisions to revoke.", r, kind=BLOCK_KINDS)
        self.revocation_seconds = Histogram(
            "sds_server_revocation_seconds",
            "From the request to revoke to the CRLs that say it.",
            buckets=DURATION_BUCKETS,
            registry=r,
        ).observe
        self.revoked = _gauge("sds_server_revoked_certificates", "Unexpired certificates that are revoked.", r)
        self.crls = _counter("sds_server_crls", "Revocation lists that were signed.", r)
        self.crl_seconds = Histogram(
            "sds_server_crl_seconds", "Time to make one revocation list.", buckets=DURATION_BUCKETS, registry=r
        ).observe
        self.revocation_problem = _gauge(
            "sds_server_revocation_problem", "1 while the CRLs do not say all that is revoked.", r
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

    def call_seconds(self, method: str, seconds: float) -> None:
        """A call has ended; watch streams are left out, for they last as long as the agent."""
        if method != "WatchAuthorized":
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


class AgentMetrics:
    """What `sds agent` tells Prometheus. Hot paths call the bound methods kept here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        streams = Gauge("sds_agent_streams", "SDS, ADS and Workload API streams open now.", ("protocol",), registry=r)
        self.streams = {protocol: streams.labels(protocol) for protocol in PROTOCOLS[:-1]}
        self.pushes = HotCounter("sds_agent_pushes", "Resources sent to sidecars.", r).inc
        self.acks = HotCounter("sds_agent_acks", "Resources that sidecars accepted.", r).inc
        self.nacks = _counter("sds_agent_nacks", "Resources that sidecars rejected.", r).inc
        self.push_to_ack = HotHistogram(
            "sds_agent_push_to_ack_seconds", "From sending a resource to its ACK.", r, PUSH_BUCKETS
        ).observe
        self.ignored = Counters(
            "sds_agent_requests_ignored", "Requests or names answered with nothing.", r, reason=IGNORED
        )
        self.attestations = Counters(
            "sds_agent_workload_attestations", "Attestations of processes.", r, outcome=OUTCOMES
        )
        self.connections = _gauge("sds_agent_connections", "Connections on the public socket open now.", r)
        self.connections_refused = Counters(
            "sds_agent_connections_refused",
            "Connections closed before they were served.",
            r,
            reason=REFUSED_CONNECTIONS,
        )
        self.svids = _gauge("sds_agent_svids", "X.509-SVIDs held in memory.", r)
        self.svids_distrusted = _gauge(
            "sds_agent_svids_distrusted",
            "X.509-SVIDs that are replaced before their time: revoked, or of a tainted or removed authority.",
            r,
        )
        self.tokens = _gauge("sds_agent_tokens", "JWT-SVIDs held in memory.", r)
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
        self.upstream_connected = _gauge("sds_agent_upstream_connected", "1 while the server can be reached.", r)
        self.clock_skew = _gauge("sds_agent_clock_skew_seconds", "The server's clock minus this host's.", r)
        self.reports_dropped = _counter(
            "sds_agent_report_events_dropped", "Events dropped because the queue was full.", r
        )
        self._earliest_expiry = _gauge(
            "sds_agent_earliest_expiry_timestamp_seconds",
            "When the first certificate expires if nothing renews; 0: none.",
            r,
        )
        self._outage_budget = _gauge(
            "sds_agent_outage_budget_seconds", "Time until the first certificate expires if nothing renews from now.", r
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
