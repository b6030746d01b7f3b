"""Prometheus metrics. No label ever holds a secret, a name that a caller chose, or an unbounded set of values."""

from sds.metrics.agent import AgentMetrics
from sds.metrics.kinds import Counters
from sds.metrics.server import ServerMetrics

__all__ = ["AgentMetrics", "Counters", "ServerMetrics"]
