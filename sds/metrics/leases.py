"""What `sds server` tells Prometheus of dynamic credentials."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from sds.metrics.kinds import Counters, gauge

STATES = ("pending", "live", "ending")
OPERATIONS = ("create", "renew", "replace", "revoke", "orphan")


class LeaseMetrics:
    """Made with ServerMetrics."""

    def __init__(self, r: CollectorRegistry) -> None:
        self.leases = {
            state: gauge(f"sds_server_secret_leases_{state}", f"Leases of dynamic credentials that are {state}.", r)
            for state in STATES
        }
        self.oldest_unrevoked = gauge(
            "sds_server_secret_lease_oldest_unrevoked_seconds",
            "For how long Vault should have revoked a lease and has not.",
            r,
        )
        self.operations = Counters(
            "sds_server_secret_lease_operations",
            "What was done with leases.",
            r,
            operation=OPERATIONS,
            outcome=("success", "failure"),
        )
