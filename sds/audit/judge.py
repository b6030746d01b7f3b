"""Whether a log is what was signed: fed with leaves in order, it names what is missing, altered, or never was.

Trees are built from the hashes as they are stored, and events are held against those: one that was altered is then
named by itself, and roots still say whether the stored hashes are the ones that were signed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from sds.audit.merkle import Frontier, leaf_hash

MAX_PROBLEMS = 1000
"""That are named; further ones are counted."""


class ProblemKind(StrEnum):
    """What is wrong. `TREE`: stored hashes; `CUT`: a checkpoint knows of more leaves than there are."""

    MISSING = "missing"
    ALTERED = "altered"
    COLUMN = "column"
    ORDER = "order"
    EXTRA = "extra"
    TREE = "tree"
    CHECKPOINT = "checkpoint"
    CUT = "cut"
    PRUNING = "pruning"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Problem:
    """One of them. `leaf` and `sequence` where it is about one event; safe to show."""

    kind: ProblemKind
    what: str
    leaf: int | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody has signed, or remembers: that the tree of `size` leaves has `root`. `name` is for people."""

    name: str
    size: int
    root: bytes
    kind: ProblemKind = ProblemKind.CHECKPOINT


@dataclass(frozen=True, slots=True)
class Leaf:
    """What stands at a leaf. `canonical` None: the event is gone. `stored`: its hash as the tree has it, if it has.

    `differs` names columns that say something else than the event.
    """

    number: int
    sequence: int | None
    canonical: bytes | None
    stored: bytes | None = None
    differs: tuple[str, ...] = ()


@dataclass(slots=True)
class Findings:
    """Problems, of which the first ones are named."""

    problems: list[Problem] = field(default_factory=list)
    more: int = 0

    def add(self, kind: ProblemKind, what: str, leaf: int | None = None, sequence: int | None = None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, what, leaf, sequence))
        else:
            self.more += 1

    @property
    def ok(self) -> bool:
        return not self.problems


class Judge:
    """`passed` for leaves whose events are pruned, `leaf` for the others, in order; then `finish`."""

    def __init__(self, findings: Findings, claims: Iterable[Claim], frontier: Frontier | None = None) -> None:
        """`frontier`: of the leaves before the first that will be told."""
        self._findings = findings
        self._frontier = frontier or Frontier()
        self._claims: dict[int, list[Claim]] = {}
        for claim in claims:
            self._claims.setdefault(claim.size, []).append(claim)
        self._good = 0
        self._seq = 0
        self._broken = False
        self.events = 0
        """Events that were held against their leaves."""
        self._at()

    @property
    def size(self) -> int:
        return self._frontier.size

    def passed(self, hashes: Iterable[bytes]) -> None:
        """Leaves of which only the hashes are kept."""
        for hashed in hashes:
            self._append(hashed)

    def leaf(self, leaf: Leaf) -> None:
        """The next leaf. A number that is not the next one means that those between are gone without a trace."""
        if leaf.number != self.size:
            self._findings.add(
                ProblemKind.ORDER,
                f"leaf {leaf.number} stands where leaf {self.size} belongs",
                leaf.number,
                leaf.sequence,
            )
            self._broken = True
            return
        self._look(leaf)
        hashed = leaf.stored
        if hashed is None:
            if leaf.canonical is None:
                self._broken = True  # no root from here on can be known
                return
            hashed = leaf_hash(leaf.canonical)
        self._append(hashed)

    def finish(self) -> bytes | None:
        """Judge the claims that are left; the root, or None where it cannot be known."""
        for size in sorted(size for size in self._claims if size > self.size):
            for claim in self._claims[size]:
                if not self._broken:
                    self._findings.add(
                        ProblemKind.CUT,
                        f"{claim.name} knows of {size} leaves, and there are {self.size}: the end is cut off",
                    )
        newest = max(self._claims, default=0)
        if self.size > newest:
            self._findings.add(ProblemKind.EXTRA, f"leaves {newest} to {self.size - 1} are under no checkpoint", newest)
        return None if self._broken else self._frontier.root()

    def _look(self, leaf: Leaf) -> None:
        add = self._findings.add
        if leaf.canonical is None:
            add(ProblemKind.MISSING, "the event is gone", leaf.number, leaf.sequence)
        else:
            self.events += 1
            if leaf.stored is not None and leaf_hash(leaf.canonical) != leaf.stored:
                add(ProblemKind.ALTERED, "the event is not the one that was put here", leaf.number, leaf.sequence)
            for column in leaf.differs:
                add(
                    ProblemKind.COLUMN,
                    f"the column {column} says something else than the event",
                    leaf.number,
                    leaf.sequence,
                )
        if leaf.sequence is None:
            return
        if leaf.sequence <= self._seq:
            add(ProblemKind.ORDER, "events are in another order than their numbers", leaf.number, leaf.sequence)
        self._seq = max(self._seq, leaf.sequence)

    def _append(self, hashed: bytes) -> None:
        if self._broken:
            return
        self._frontier.append(hashed)
        if self._frontier.size in self._claims:
            self._at()

    def _at(self) -> None:
        """Hold the claims of this size against the root; the first that fails says where it went wrong."""
        size = self._frontier.size
        claims = self._claims.get(size, ())
        root = self._frontier.root() if claims else b""
        wrong = [claim for claim in claims if claim.root != root]
        for claim in wrong:
            where = f"leaves {self._good} to {size - 1}" if size else "no leaves"
            self._findings.add(
                claim.kind,
                f"{claim.name} has another root than the tree: what was signed of {where} is not what stands",
            )
        if claims and not wrong:
            self._good = size
