"""What the engine of secrets tells, as metrics. Implements the observers that its parts declare."""

from __future__ import annotations

from sds.metrics.secrets import SecretMetrics


class SecretTelemetry:
    """One for the process."""

    def __init__(self, metrics: SecretMetrics) -> None:
        self._metrics = metrics

    def secrets_defined(self, secrets: int, grants: int) -> None:
        self._metrics.defined.set(secrets)
        self._metrics.grants.set(grants)

    def secret_fetched(self, backend: str, outcome: str, seconds: float) -> None:
        self._metrics.fetches.inc(backend)
        if outcome != "success":
            self._metrics.fetch_failures.inc(outcome)
        self._metrics.fetch_seconds(seconds)

    def secrets_held(self, values: int, problems: int) -> None:
        self._metrics.held.set(values)
        self._metrics.problems.set(problems)

    def secret_watches(self, streams: int, wanted: int) -> None:
        self._metrics.streams.set(streams)
        self._metrics.wanted.set(wanted)

    def secret_told(self, kind: str, count: int) -> None:
        self._metrics.told.inc(kind, by=count)

    def secret_pushed(self, seconds: float) -> None:
        self._metrics.push_seconds(seconds)

    def secret_unaudited(self) -> None:
        self._metrics.unaudited.inc()

    def secret_interval(self, seconds: float) -> None:
        self._metrics.poll_interval.set(seconds)

    def secret_looked(self, outcome: str, count: int) -> None:
        self._metrics.looks.inc(outcome, by=count)

    def secret_hook(self, outcome: str) -> None:
        self._metrics.hooks.inc(outcome)
