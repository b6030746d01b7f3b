"""The hot path's metrics say exactly what prometheus_client's own would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from sds.hot_metrics import HotCounter, HotHistogram

BOUNDS = (0.001, 0.01, 0.1, 1.0)


def exposition(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(st.lists(st.floats(min_value=0, max_value=10) | st.sampled_from(BOUNDS), max_size=50))
def test_same_exposition_as_the_library(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    hot_counter, counter = HotCounter("pushes", "Pushes.", ours), Counter("pushes", "Pushes.", registry=theirs)
    hot = HotHistogram("ack_seconds", "ACK.", ours, BOUNDS)
    plain = Histogram("ack_seconds", "ACK.", buckets=BOUNDS, registry=theirs)
    for value in values:
        hot_counter.inc()
        counter.inc()
        hot.observe(value)
        plain.observe(value)
    assert exposition(ours) == exposition(theirs)
