"""Ceilings on what may be asked of the server."""

from __future__ import annotations

import os
from datetime import timedelta

from sds.config.types import Count, Duration, Number, Section, key

_SECOND = timedelta(seconds=1)
_WORKERS = min(max(len(os.sched_getaffinity(0)) - 1, 0), 4)


class ServerLimits(Section):
    """What one peer, or all together, may ask for. Each is a ceiling on memory, processor time or disk."""

    attest_rate: Number = key("Attestations a second from one address.", default=1.0, reload=True, gt=0, le=10_000)
    attest_burst: Count = key("Attestations one address may make at once.", default=10, reload=True, ge=1, le=100_000)
    connection_rate: Number = key("New connections (TLS handshakes) a second from one address.", default=50.0, gt=0)
    connection_burst: Count = key("New connections one address may make at once.", default=200, ge=1)
    max_connections: Count = key("Connections at once on each listener.", default=10_000, ge=1)
    max_connections_per_address: Count = key("Connections at once from one address.", default=1_000, ge=1)
    handshake_timeout: Duration = key(
        "How long a new connection may take to say something.", default=10 * _SECOND, ge=_SECOND
    )
    max_watch_streams: Count = key("WatchAuthorized streams at once.", default=10_000, ge=1)
    max_watch_streams_per_agent: Count = key("WatchAuthorized streams of one agent at once.", default=4, ge=1)
    max_csr_batch: Count = key("Requests in one SignX509Svids call.", default=500, ge=1, le=10_000)
    max_csr_bytes: Count = key("Size of one CSR.", default=16_384, ge=1_024, le=1_048_576)
    max_message_bytes: Count = key("Size of one gRPC message.", default=4_194_304, ge=65_536, le=67_108_864)
    max_signing_queue: Count = key(
        "Requests that may wait for a signature, a quarter of them of one agent (or one full call, where that is "
        "more); more are refused as unavailable.",
        default=20_000,
        ge=1,
    )
    max_signing_batch: Count = key("Requests signed in one database transaction.", default=256, ge=1, le=10_000)
    signing_workers: Count = key(
        "Processes that prepare and sign large batches, started when first needed; 0: this process does it all. Each "
        "holds the active authority's key in memory, as the server does. Keys that never leave a PKCS #11 token or "
        "Vault are used by the server alone.",
        default=_WORKERS,
        ge=0,
        le=64,
        shown="processor cores less one, at most 4",
    )
    max_admin_body_bytes: Count = key("Size of one admin API request.", default=16_777_216, ge=65_536)
