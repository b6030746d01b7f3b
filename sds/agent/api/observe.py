"""What the API tells metrics and the log."""

from __future__ import annotations

from sds.agent.observe import QuietLog
from sds.clock import Clock
from sds.delivery.text import clean_name
from sds.logs import Logger
from sds.metrics import AgentMetrics


class ApiEvents:
    """Implements ApiObserver."""

    def __init__(self, metrics: AgentMetrics, clock: Clock, log: Logger) -> None:
        self._metrics = metrics
        self._quiet = QuietLog(log, clock)

    def answered(self, outcome: str) -> None:
        self._metrics.api_requests.inc(outcome)

    def refused(self, status: int, reason: str) -> None:
        self._quiet.warning(
            "a request of an application for a secret was refused", status=status, reason=clean_name(reason)
        )
