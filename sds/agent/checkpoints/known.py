"""What is known of the audit log's tree, and whether a checkpoint fits it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from sds.audit.checkpoint import Checkpoint

MAX_ROOTS = 256
"""Of the latest sizes that are remembered with their roots."""


class Verdict(Enum):
    """`GROWN`: larger than what was known. `SAME`: the newest again. `SMALLER`: it was larger already.

    `OTHER_ROOT`: a size that was told with another root. `OTHER_LOG`: the name is another one.
    """

    GROWN = "grown"
    SAME = "same"
    SMALLER = "smaller"
    OTHER_ROOT = "other_root"
    OTHER_LOG = "other_log"


@dataclass(frozen=True, slots=True)
class Known:
    """The newest checkpoint, and the roots of the latest sizes."""

    newest: Checkpoint
    roots: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))


def judge(known: Known | None, found: Checkpoint) -> Verdict:
    """What `found` is to what is known. A log only ever grows, and a size has one root (RFC 9162 2.1.4)."""
    if known is None:
        return Verdict.GROWN
    if found.origin != known.newest.origin:
        return Verdict.OTHER_LOG
    if found.size == known.newest.size:
        return Verdict.SAME if found.root == known.newest.root else Verdict.OTHER_ROOT
    root = known.roots.get(found.size)
    if root is not None and root != found.root:
        return Verdict.OTHER_ROOT
    return Verdict.GROWN if found.size > known.newest.size else Verdict.SMALLER


def grown(known: Known | None, found: Checkpoint) -> Known:
    """What is known with `found` as the newest."""
    roots = dict(known.roots) if known is not None and known.newest.origin == found.origin else {}
    roots[found.size] = found.root
    latest = sorted(roots)[-MAX_ROOTS:]
    return Known(found, MappingProxyType({size: roots[size] for size in latest}))
