from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.demo.report import Report, SecretReport, percentile

GOOD = Report(3, 100, 0, 20, 8, (1.0, 2.0, 9.0), 0)


def test_the_keys_are_the_promised_ones() -> None:
    assert GOOD.to_json() == {
        "rotations": 3,
        "requests": 100,
        "failed": 0,
        "handshakes": 20,
        "distinct_serials": 8,
        "push_to_ack_ms": {"p50": 2.0, "p99": 9.0},
        "envoy_restarts": 0,
    }


def test_with_a_vault_there_are_two_more() -> None:
    secret = SecretReport(2, {"frontend": (900.0, 1100.0), "backend": ()})
    assert replace(GOOD, secret=secret).to_json() == GOOD.to_json() | {
        "secret_changes": 2,
        "change_to_use_ms": {"frontend": {"p50": 900.0, "p99": 1100.0}, "backend": {"p50": None, "p99": None}},
    }


@pytest.mark.parametrize("bad", [{"failed": 1}, {"envoy_restarts": 1}, {"requests": 0}])
def test_a_failure_a_restart_or_silence_fails(bad: dict[str, int]) -> None:
    assert GOOD.passed
    assert not replace(GOOD, **bad).passed


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.01, 1))
def test_percentile_is_the_smallest_that_covers_the_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values)
    assert all(sum(w <= v for w in values) < share * len(values) for v in values if v < found)


def test_percentile_of_nothing() -> None:
    assert percentile([], 0.5) is None
