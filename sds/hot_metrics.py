"""A counter and a histogram for the hottest path: one addition a push, without prometheus_client's lock.

They may be counted from one thread only, the event loop's; they are read from any.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric


class HotCounter:
    """Counts things, one at a time."""

    __slots__ = ("_about", "_name", "count")

    def __init__(self, name: str, about: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._about = about
        self.count = 0
        registry.register(self)

    def inc(self) -> None:
        """One more."""
        self.count += 1

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield CounterMetricFamily(self._name, self._about, value=self.count)


class HotHistogram:
    """Sorts observations into buckets with the given upper bounds (inclusive, ascending)."""

    __slots__ = ("_about", "_bounds", "_counts", "_name", "_sum")

    def __init__(self, name: str, about: str, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._name = name
        self._about = about
        self._bounds = tuple(map(float, buckets))
        self._counts = [0] * (len(buckets) + 1)  # the last: above every bound
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """One more observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        """For the registry: cumulative buckets, as the exposition format wants them."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), tuple(self._counts), strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
        yield HistogramMetricFamily(self._name, self._about, buckets=buckets, sum_value=self._sum)
