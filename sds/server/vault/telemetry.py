"""What the client of Vault tells, as metrics. Implements sds.vault.line.VaultObserver; for any thread."""

from __future__ import annotations

from sds.clock import Clock
from sds.metrics.vault import VaultMetrics


class VaultTelemetry:
    """One for the process."""

    def __init__(self, metrics: VaultMetrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def vault_request(self, method: str, operation: str, outcome: str, seconds: float) -> None:
        self._metrics.request(method, operation, outcome, seconds)

    def vault_up(self, up: bool) -> None:
        self._metrics.up(up)

    def vault_token(self, seconds: float | None) -> None:
        now = self._clock.now().timestamp()
        self._metrics.token(None if seconds is None else now + seconds if seconds > 0 else 0.0)
