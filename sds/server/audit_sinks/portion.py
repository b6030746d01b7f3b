"""What a sink is handed next: leaves in order, and each checkpoint behind the last leaf that it covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sds.audit.sinks.items import Item, Leaf, Signed
from sds.store.ledger.cursors import SinkCursor, StoredCheckpoint, StoredLeaf
from sds.store.unit_of_work import UnitOfWork

MAX_BYTES = 1024 * 1024
"""Of the events in one delivery; one that is larger goes alone."""
MAX_CHECKPOINTS = 100


@dataclass(frozen=True, slots=True)
class Portion:
    """Once `items` are delivered the cursor stands at `leaf` and `checkpoint`.

    `pruned`: the first and the last leaf that retention took before the sink was given them.
    """

    items: tuple[Item, ...]
    leaf: int
    checkpoint: int
    pruned: tuple[int, int] | None = None


def next_portion(uow: UnitOfWork, cursor: SinkCursor, limit: int) -> Portion:
    """At most `limit` leaves from the cursor on."""
    kept = uow.cursors.heads().pruned
    start = max(cursor.leaf, kept)
    leaves = bounded(uow.cursors.leaves(start, limit), start, limit)
    end = leaves[-1].leaf + 1 if leaves else start
    checkpoints = uow.cursors.checkpoints(cursor.checkpoint, end, MAX_CHECKPOINTS)
    newest = checkpoints[-1].size if checkpoints else cursor.checkpoint
    pruned = (cursor.leaf, kept - 1) if kept > cursor.leaf else None
    return Portion(merged(leaves, checkpoints), end, newest, pruned)


def bounded(stored: Sequence[StoredLeaf], start: int, limit: int) -> tuple[Leaf, ...]:
    """At most MAX_BYTES of them, but one. A number that is missing between others is told as an event that is gone."""
    found: list[Leaf] = []
    size = 0
    for each in stored:
        while start < each.leaf and len(found) < limit:
            found.append(Leaf(start, 0, None))
            start += 1
        size += len(each.canonical or b"")
        if len(found) >= limit or (found and size > MAX_BYTES):
            break
        found.append(Leaf(each.leaf, each.sequence, each.canonical))
        start = each.leaf + 1
    return tuple(found)


def merged(leaves: Sequence[Leaf], checkpoints: Sequence[StoredCheckpoint]) -> tuple[Item, ...]:
    """Both ascending; a checkpoint of size N comes before leaf N, and behind all before it."""
    found: list[Item] = []
    rest = list(checkpoints)
    for leaf in leaves:
        while rest and rest[0].size <= leaf.leaf:
            found.append(Signed(rest[0].size, rest[0].note))
            del rest[0]
        found.append(leaf)
    found.extend(Signed(each.size, each.note) for each in rest)
    return tuple(found)
