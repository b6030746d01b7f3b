"""What a run of the demo proved, as numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any


@dataclass(frozen=True, slots=True)
class SecretReport:
    """How often the secret was changed in Vault, and by sidecar how long after each change it was used first."""

    changes: int
    change_to_use_ms: Mapping[str, Sequence[float]]

    def to_json(self) -> dict[str, Any]:
        return {
            "secret_changes": self.changes,
            "change_to_use_ms": {name: _summary(values) for name, values in self.change_to_use_ms.items()},
        }


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
    secret: SecretReport | None = None  # only with a Vault

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
            "push_to_ack_ms": _summary(self.push_to_ack_ms),
            "envoy_restarts": self.envoy_restarts,
            **(self.secret.to_json() if self.secret else {}),
        }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not exceed (nearest rank); None of nothing."""
    if not values:
        return None
    return sorted(values)[max(ceil(share * len(values)) - 1, 0)]


def _summary(values: Sequence[float]) -> dict[str, float | None]:
    return {"p50": _rounded(percentile(values, 0.50)), "p99": _rounded(percentile(values, 0.99))}


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
