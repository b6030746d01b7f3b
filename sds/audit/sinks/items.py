"""What is handed to a sink: leaves of the audit log in their order, and the checkpoints that were signed over them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from sds.audit.canonical import is_one_line
from sds.audit.event import Json


@dataclass(frozen=True, slots=True)
class Leaf:
    """An event and its place. `canonical` are the bytes that are hashed; None: the event is gone from the database."""

    leaf: int
    sequence: int
    canonical: bytes | None


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint over the first `size` leaves, as a signed note."""

    size: int
    note: str


Item: TypeAlias = Leaf | Signed


@dataclass(frozen=True, slots=True)
class Seen:
    """What a receiver can sort and search by. Every text is as the event has it, and of any length."""

    id: str
    time: str  # RFC 3339, UTC, six digits
    action: str
    outcome: str
    actor_kind: str
    actor_id: str
    address: str
    target_kind: str
    target_id: str
    reason: str
    request_id: str
    node: str


UNREADABLE = Seen("", "1970-01-01T00:00:00.000000Z", "audit.unreadable", "failure", "", "", "", "", "", "", "", "")
"""Of bytes that are no event: somebody has changed them. They are told all the same."""


def seen(leaf: Leaf) -> Seen:
    """The fields of an event, or UNREADABLE."""
    try:
        found = json.loads((leaf.canonical or b"").decode())
        actor, target = found["actor"], found["target"]
        values = (
            found["id"], found["time"], found["action"], found["outcome"], actor["kind"], actor["id"],
            actor["address"], target["kind"], target["id"], found["reason"], found["request_id"], found["node"],
        )  # fmt: skip
        "".join(values).encode()  # what is no text, or half of a surrogate pair
    except (ValueError, KeyError, TypeError, RecursionError):
        return UNREADABLE
    return Seen(*values)


def line(item: Item) -> bytes:
    """One JSON object without a line break: ``{"event":…,"leaf":…,"sequence":…}`` or ``{"checkpoint":…}``.

    The event stands in it byte for byte as it is hashed, so that the leaf's hash can be made from the line.
    """
    if isinstance(item, Signed):
        return _compact({"checkpoint": {"note": item.note, "size": item.size}})
    event = item.canonical
    if event is None or not is_one_line(event):
        return _compact({"event": None, "leaf": item.leaf, "sequence": item.sequence})
    return b'{"event":%b,"leaf":%d,"sequence":%d}' % (event, item.leaf, item.sequence)


def _compact(value: dict[str, Any] | Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
