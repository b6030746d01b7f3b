"""What `sds server` tells Prometheus of Vault."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Histogram

from sds.metrics.kinds import DURATION_BUCKETS, gauge

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
        # Not all combinations at the start, unlike elsewhere: of more than a thousand a server meets a dozen.
        self._requests = Counter(
            "sds_server_vault_requests", "Requests to Vault.", ("method", "operation", "outcome"), registry=registry
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
        kinds = (VAULT_METHODS, method), (VAULT_OPERATIONS, operation), (VAULT_OUTCOMES, outcome)
        self._requests.labels(*(one if one in known else "other" for known, one in kinds)).inc()
        self._seconds(seconds)

    def up(self, up: bool) -> None:
        self._up.set(up)

    def token(self, until: float | None) -> None:
        """Seconds since the epoch; None: it does not end."""
        self._token.set(math.inf if until is None else until)
