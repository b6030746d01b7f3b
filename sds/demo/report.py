"""What a run of the demo proved, as numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run; `rotations` is that of the sidecar that rotated least."""

    rotations: int
    requests: int
    failed: int
    handshakes: int
    distinct_serials: int
    push_to_ack_ms: Sequence[float]
    envoy_restarts: int

    @property
    def passed(self) -> bool:
        """Whether every request was answered and no Envoy was started again."""
        return self.requests > 0 and self.failed == 0 and self.envoy_restarts == 0

    def to_json(self) -> dict[str, Any]:
        return {
            "rotations": self.rotations,
            "requests": self.requests,
            "failed": self.failed,
            "handshakes": self.handshakes,
            "distinct_serials": self.distinct_serials,
            "push_to_ack_ms": {
                "p50": _rounded(percentile(self.push_to_ack_ms, 0.50)),
                "p99": _rounded(percentile(self.push_to_ack_ms, 0.99)),
            },
            "envoy_restarts": self.envoy_restarts,
        }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not exceed (nearest rank); None of nothing."""
    if not values:
        return None
    return sorted(values)[max(ceil(share * len(values)) - 1, 0)]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
