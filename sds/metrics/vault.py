"""What `sds server` tells Prometheus of Vault."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Histogram

from sds.metrics.kinds import DURATION_BUCKETS, Counters, gauge

VAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "LIST", "other")
VAULT_OPERATIONS = (
    "login", "token", "sys", "data", "metadata", "detailed-metadata", "delete", "undelete", "destroy", "creds",
    "static-creds", "roles", "config", "issue", "sign", "sign-verbatim", "root", "issuer", "cert", "ca", "crl",
    "revoke", "keys", "encrypt", "decrypt", "rewrap", "datakey", "verify", "hmac", "hash", "random", "subscribe",
    "other",
)  # fmt: skip
"""What a request is about: the part of its path that says so, wherever the engine is mounted."""
VAULT_OUTCOMES = ("success", "denied", "not_found", "refused", "unavailable", "other")


class VaultMetrics:
    """Nothing in it grows with the paths that are asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counters(
            "sds_server_vault_requests",
            "Requests to Vault.",
            registry,
            method=VAULT_METHODS,
            operation=VAULT_OPERATIONS,
            outcome=VAULT_OUTCOMES,
        )
        self._seconds = Histogram(
            "sds_server_vault_request_seconds",
            "Time of a request to Vault.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        ).observe
        self._up = gauge("sds_server_vault_up", "1 while Vault answers; NaN: there is none.", registry)
        self._up.set(math.nan)  # an alert for 0 must not ring where nobody has a Vault
        self._token = gauge(
            "sds_server_vault_token_expiry_timestamp_seconds",
            "When our token for Vault ends; +Inf: never; 0: there is none.",
            registry,
        )

    def request(self, method: str, operation: str, outcome: str, seconds: float) -> None:
        self._requests.inc(method, operation, outcome)
        self._seconds(seconds)

    def up(self, up: bool) -> None:
        self._up.set(up)

    def token(self, until: float | None) -> None:
        """Seconds since the epoch; None: it does not end."""
        self._token.set(math.inf if until is None else until)
