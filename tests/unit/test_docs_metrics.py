"""docs/operations.md names every metric there is, and none that there isn't."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from sds.metrics import AgentMetrics, ServerMetrics

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


def test_every_metric_is_documented() -> None:
    registry = CollectorRegistry()
    ServerMetrics(registry)
    AgentMetrics(registry)
    names = {family.name for family in registry.collect()}
    documented = {
        name.removesuffix("_total") for name in re.findall(r"\bsds_(?:server|agent)_[a-z_]+", OPERATIONS.read_text())
    }
    assert names == documented
