"""The kinds of metrics, and the values that labels may have."""

from __future__ import annotations

from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

# A second series beside each counter, which says when it was made: nobody asks, and it would be a third of all.
disable_created_metrics()  # type: ignore[no-untyped-call]

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
    "WatchSecrets",
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
PUBLIC_ENDPOINTS = ("bundle", "oidc", "jwks", "crl", "ocsp", "hook", "secret", "other")
BLOCK_KINDS = ("serial", "spiffe_id", "key", "entry", "agent", "authority")
"""What a revocation names (sds.store.revocation.records)."""
SECRET_STATES = ("asked", "given", "expired", "not_granted", "unavailable")
"""What an agent knows of a secret that is wanted (sds.agent.secrets.shelf.Standing)."""
SINK_OUTCOMES = ("written", "unchanged", "removed", "failed")
"""What becomes of a file of secrets (sds.agent.sinks.sink)."""
API_OUTCOMES = ("served", "unchanged", "absent", "unavailable", "refused", "invalid")
"""How an agent answers an application's request (sds.agent.api.routes)."""
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


def counter(name: str, about: str, registry: CollectorRegistry) -> Counter:
    return Counter(name, about, registry=registry)


def gauge(name: str, about: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, about, registry=registry)
