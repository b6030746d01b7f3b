"""What `sds server` tells Prometheus of named secrets. No label ever names one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from sds.metrics.kinds import DURATION_BUCKETS, PUSH_BUCKETS, Counters, counter, gauge

BACKENDS = ("embedded", "kv", "database", "pki", "tickets")
FAILURES = ("missing", "denied", "malformed", "unavailable")
TOLD = ("value", "unchanged", "not_granted", "unavailable")
HOOKS = ("accepted", "unauthenticated", "replayed", "too_many", "malformed", "failed")


class SecretMetrics:
    """Made with ServerMetrics."""

    def __init__(self, r: CollectorRegistry) -> None:
        self.defined = gauge("sds_server_secrets", "Named secrets that are defined.", r)
        self.grants = gauge("sds_server_secret_grants", "Grants of named secrets.", r)
        self.streams = gauge("sds_server_secret_streams", "WatchSecrets streams open now.", r)
        self.wanted = gauge(
            "sds_server_secrets_wanted", "What agents want now: secrets times entries that want them.", r
        )
        self.held = gauge("sds_server_secrets_held", "Values of secrets in memory now.", r)
        self.problems = gauge(
            "sds_server_secret_problems", "Secrets wanted now that cannot be had, or not as they should be.", r
        )
        self.fetches = Counters(
            "sds_server_secret_fetches", "Times that a value was asked of a source.", r, backend=BACKENDS
        )
        self.fetch_failures = Counters(
            "sds_server_secret_fetch_failures", "Of these, the ones that brought no value.", r, reason=FAILURES
        )
        self.fetch_seconds = Histogram(
            "sds_server_secret_fetch_seconds", "Time to fetch one value.", buckets=DURATION_BUCKETS, registry=r
        ).observe
        self.told = Counters("sds_server_secret_updates", "What agents were told of secrets.", r, kind=TOLD)
        self.push_seconds = Histogram(
            "sds_server_secret_push_seconds",
            "From the arrival of a changed value to its message on an agent's stream.",
            buckets=PUSH_BUCKETS,
            registry=r,
        ).observe
        self.unaudited = counter(
            "sds_server_secret_unaudited", "Times that values were held back: the audit log could not be written.", r
        )
        self.poll_interval = gauge(
            "sds_server_secret_poll_interval_seconds", "Time between two looks at a source that has to be asked.", r
        )
        self.looks = Counters(
            "sds_server_secret_looks", "Looks at sources for changed values.", r, outcome=("success", "unavailable")
        )
        self.hooks = Counters("sds_server_secret_hooks", "Calls of the webhook.", r, outcome=HOOKS)
