"""Items to hand over."""

from __future__ import annotations

from sds.audit.canonical import canonical_bytes
from sds.audit.sinks.items import Item, Leaf, line
from sds.clock import SystemClock
from tests.contract.store.samples import event

CLOCK = SystemClock()


def leaves(count: int, first: int = 0, size: int = 10) -> list[Item]:
    made = canonical_bytes(event(id="0" * 32, details={"text": "x" * size}))
    return [Leaf(first + number, first + number + 1, made) for number in range(count)]


def lines(items: list[Item]) -> bytes:
    return b"".join(line(item) + b"\n" for item in items)
