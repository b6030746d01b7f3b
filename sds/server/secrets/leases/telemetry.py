"""What is done with leases, as metrics."""

from __future__ import annotations

from datetime import timedelta

from sds.metrics.leases import LeaseMetrics


class LeaseTelemetry:
    """Implements LeaseObserver."""

    def __init__(self, metrics: LeaseMetrics) -> None:
        self._metrics = metrics

    def lease_operation(self, operation: str, outcome: str) -> None:
        self._metrics.operations.inc(operation, outcome)

    def leases(self, pending: int, live: int, ending: int, oldest_unrevoked: timedelta) -> None:
        for state, number in (("pending", pending), ("live", live), ("ending", ending)):
            self._metrics.leases[state].set(number)
        self._metrics.oldest_unrevoked.set(oldest_unrevoked.total_seconds())
