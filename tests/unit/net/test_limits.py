from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.net.limits import Caps, Rate, TokenBuckets, address_key


def test_a_bucket_gives_its_burst_and_then_refills_at_its_rate() -> None:
    buckets = TokenBuckets(Rate(per_second=2.0, burst=3))
    assert [buckets.take("a", 10.0) for _ in range(4)] == [True, True, True, False]
    assert not buckets.take("a", 10.4)
    assert buckets.take("a", 10.5)
    assert not buckets.take("a", 10.5)
    assert [buckets.take("a", 1000.0) for _ in range(4)] == [True, True, True, False]


def test_one_key_does_not_pay_for_another() -> None:
    buckets = TokenBuckets(Rate(per_second=1.0, burst=1))
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)


def test_the_table_is_bounded_and_keeps_who_is_active() -> None:
    buckets = TokenBuckets(Rate(per_second=0.001, burst=1), max_keys=10)
    assert buckets.take("flooder", 0.0)
    for n in range(1000):
        buckets.take(n, 0.0)
        assert not buckets.take("flooder", 0.0), "an active flooder stays in the table"
    assert len(buckets) == 10


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    buckets = TokenBuckets(Rate(per_second=1000.0, burst=1))
    assert buckets.take("a", 100.0)
    assert not buckets.take("a", 50.0)


@given(st.lists(st.floats(min_value=0, max_value=5), max_size=60), st.integers(1, 5), st.floats(0.1, 10))
def test_never_more_than_burst_plus_rate_times_time(gaps: list[float], burst: int, rate: float) -> None:
    buckets = TokenBuckets(Rate(rate, burst))
    now, taken = 0.0, 0
    for gap in gaps:
        now += gap
        taken += buckets.take("k", now)
        assert taken <= burst + rate * now + 1e-6


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_senseless_rate_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="per_second above 0"):
        Rate(rate, burst)


def test_caps_count_by_key_and_in_total() -> None:
    caps = Caps(total=3, per_key=2)
    assert [caps.acquire("a") for _ in range(3)] == [None, None, "key"]
    assert [caps.acquire("b") for _ in range(2)] == [None, "total"]
    caps.release("a")
    assert caps.held("a") == 1
    assert caps.acquire("b") is None
    assert caps.open == 3
    for key in "abb":
        caps.release(key)
    assert caps.open == 0
    assert caps.held("a") == 0


def test_several_are_granted_together_or_not_at_all() -> None:
    caps = Caps(total=7, per_key=4)
    assert [caps.acquire("a", 5), caps.acquire("a", 3), caps.acquire("a", 2)] == ["key", None, "key"]
    assert [caps.acquire("b", 4), caps.acquire("c", 1)] == [None, "total"]
    assert (caps.open, caps.held("a"), caps.held("c")) == (7, 3, 0)
    caps.release("a", 2)
    assert caps.held("a") == 1
    caps.release("a")
    caps.release("b", 4)
    assert caps.open == 0


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "not an address"),
    ],
)
def test_addresses_are_counted_by_what_a_host_cannot_vary(host: str, key: str) -> None:
    assert address_key(host) == key
