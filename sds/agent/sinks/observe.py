"""What sinks tell metrics."""

from __future__ import annotations

from collections.abc import Sequence

from sds.metrics import AgentMetrics


class SinkEvents:
    """Implements SinkObserver."""

    def __init__(self, metrics: AgentMetrics, sinks: Sequence[str]) -> None:
        self._metrics = metrics
        self._waiting = set(sinks)
        metrics.sinks_waiting.set(len(self._waiting))

    def wrote(self, sink: str, outcome: str) -> None:
        del sink
        self._metrics.sink_writes.inc(outcome)

    def ready(self, sink: str, ready: bool) -> None:
        (self._waiting.discard if ready else self._waiting.add)(sink)
        self._metrics.sinks_waiting.set(len(self._waiting))
