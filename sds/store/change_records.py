"""The change feed's values: what replicas and agents must learn, and from where on."""

from __future__ import annotations

from dataclasses import dataclass

from sds.store.records import ChangeKind


@dataclass(frozen=True, slots=True)
class Change:
    """Something that agents or replicas must learn: re-read `key`. `parent` is the entry's parent, else ""."""

    seq: int
    kind: ChangeKind
    key: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes in order of their commit; everything up to `last` has been handed out with it."""

    changes: tuple[Change, ...]
    last: int


@dataclass(frozen=True, slots=True)
class FeedState:
    """Positions from `oldest` to `newest` can be followed from; they count within `epoch` only."""

    epoch: str
    oldest: int
    newest: int
