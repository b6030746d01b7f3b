from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sds.metrics import AgentMetrics, Counters, ServerMetrics
from sds.metrics.kinds import REFUSED_CONNECTIONS
from tests.fakes.clock import FakeClock


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_counters(registry: CollectorRegistry) -> None:
    counters = Counters("c", "C.", registry, a=("x", "y"), b=("1", "2"))
    counters.inc("x", "2")
    counters.inc("x", "2", by=3)
    assert registry.get_sample_value("c_total", {"a": "x", "b": "2"}) == 4
    assert registry.get_sample_value("c_total", {"a": "y", "b": "1"}) == 0


def test_unexpected_labels_grow_no_series(registry: CollectorRegistry) -> None:
    counters = Counters("c", "C.", registry, a=("x", "other"), b=("1", "2"))
    for i in range(1000):
        counters.inc(f"from a caller {i}", "1")
    assert registry.get_sample_value("c_total", {"a": "other", "b": "1"}) == 1000
    assert len([line for line in generate_latest(registry).decode().splitlines() if line.startswith("c_total")]) == 4


def test_the_wrong_number_of_labels_is_a_mistake(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="zip"):
        Counters("c", "C.", registry, a=("x",)).inc("x", "y")


def test_server(registry: CollectorRegistry) -> None:
    metrics = ServerMetrics(registry)
    metrics.issued.inc("workload", "success", by=5)
    metrics.signing_batch(5)
    metrics.write_seconds(0.003)
    metrics.connections["attest"].inc()
    metrics.connections_refused.inc("attest", REFUSED_CONNECTIONS[0])
    not_after = datetime(2030, 1, 1, tzinfo=UTC)
    metrics.authorities([("x509", "active", not_after), ("x509", "old", not_after - timedelta(days=1))])
    metrics.authorities([("x509", "active", not_after)])
    sample = registry.get_sample_value
    assert sample("sds_server_issued_total", {"profile": "workload", "outcome": "success"}) == 5
    assert sample("sds_server_signing_batch_size_sum") == 5
    assert sample("sds_server_store_transaction_seconds_count", {"mode": "write"}) == 1
    assert sample("sds_server_connections", {"listener": "attest"}) == 1
    assert sample("sds_server_connections_refused_total", {"listener": "attest", "reason": "rate"}) == 1
    expiry = "sds_server_authority_expiry_timestamp_seconds"
    assert sample(expiry, {"kind": "x509", "state": "active"}) == not_after.timestamp()
    assert sample(expiry, {"kind": "x509", "state": "old"}) is None


def test_agent(registry: CollectorRegistry) -> None:
    metrics = AgentMetrics(registry)
    metrics.streams["ads-delta"].inc()
    metrics.pushes()
    metrics.acks()
    metrics.nacks()
    metrics.push_to_ack(0.0004)
    sample = registry.get_sample_value
    assert sample("sds_agent_streams", {"protocol": "ads-delta"}) == 1
    assert sample("sds_agent_pushes_total") == sample("sds_agent_acks_total") == sample("sds_agent_nacks_total") == 1
    assert sample("sds_agent_push_to_ack_seconds_bucket", {"le": "0.0005"}) == 1


def test_outage_budget(registry: CollectorRegistry) -> None:
    clock = FakeClock()
    metrics = AgentMetrics(registry)
    held: list[datetime] = []
    metrics.watch_outage_budget(lambda: min(held, default=None), clock.now)
    sample = registry.get_sample_value
    assert sample("sds_agent_outage_budget_seconds") == float("inf")
    assert sample("sds_agent_earliest_expiry_timestamp_seconds") == 0
    held += [clock.now() + timedelta(hours=1), clock.now() + timedelta(minutes=10)]
    clock.advance(60)
    assert sample("sds_agent_outage_budget_seconds") == 540
    assert sample("sds_agent_earliest_expiry_timestamp_seconds") == held[1].timestamp()
    clock.advance(600)
    assert sample("sds_agent_outage_budget_seconds") == -60


@pytest.mark.parametrize("kind", [ServerMetrics, AgentMetrics])
def test_what_is_served_parses_and_is_bounded(kind: type[ServerMetrics | AgentMetrics]) -> None:
    registry = CollectorRegistry()
    kind(registry)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    prefix = "sds_server_" if kind is ServerMetrics else "sds_agent_"
    assert all(family.name.startswith(prefix) and family.documentation.endswith(".") for family in families)
    assert sum(len(family.samples) for family in families) < 1000


def test_two_in_one_process_do_not_collide(registry: CollectorRegistry) -> None:
    ServerMetrics(registry)
    AgentMetrics(registry)
    served = generate_latest(registry).decode()
    assert {line.split("_")[1] for line in served.splitlines() if line.startswith("sds_")} == {"server", "agent"}
