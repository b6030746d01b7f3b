"""The log of who did what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time

_PATH = "/v1/audit"
_LONG = 1800.0
"""Seconds that verifying or pruning millions of events may take."""


class Party(Result):
    """An event's actor or target; only actors have an address."""

    kind: str
    id: str
    address: str = ""


class Event(Result):
    """`unreadable`: altered by hand into what is no event; then nothing of it is told but its sequence and why."""

    sequence: int
    time: Time
    action: str
    outcome: str
    actor: Party
    target: Party
    reason: str
    unreadable: bool = False


class EventPage(Result):
    """Oldest first. `last_sequence`: what to ask `after` next."""

    events: Many[Event]
    last_sequence: int


class Sink(Result):
    """Someone who is told of the log. `delivered_leaf`: the last that it was given; the lag is of what it lacks."""

    name: str
    kind: str
    delivered_leaf: int | None
    delivered_at: Time | None
    lag_events: int
    lag_seconds: int
    problem: str
    problem_since: Time | None
    holder: str


class Sinks(Result):
    sinks: Many[Sink]


class EventDetail(Result):
    """One event. `canonical` is what its leaf is the hash of; `leaf` is None until it is under a checkpoint."""

    sequence: int
    id: str
    time: Time
    action: str
    outcome: str
    actor: Party
    target: Party
    reason: str
    request_id: str
    node: str
    canonical: str
    leaf: int | None
    leaf_hash: str
    unreadable: bool = False


class Checkpoint(Result):
    """`note` is signed; the other fields say what is in it."""

    size: int
    root: str
    note: str
    signed_at: Time


class Checkpoints(Result):
    """Newest first. `next_before`: what to ask `before` next."""

    checkpoints: Many[Checkpoint]
    next_before: int | None


class Proof(Result):
    """Of inclusion (RFC 9162 2.1.3), in base64."""

    leaf: int
    size: int
    path: Many[str]
    checkpoint: str


class Consistency(Result):
    """RFC 9162 2.1.4."""

    first: int
    second: int
    path: Many[str]


class Key(Result):
    number: int
    verifier: str
    endorsement: str
    created_at: Time
    current: bool


class Keys(Result):
    keys: Many[Key]


class Problem(Result):
    kind: str
    leaf: int | None
    sequence: int | None
    what: str


class Verdict(Result):
    """What the server found in its own database. `more`: problems beyond those that are named."""

    ok: bool
    origin: str
    size: int
    events: int
    root: str
    problems: Many[Problem]
    more: int


class Pruned(Result):
    before: Time
    size: int
    events: int
    held_by: str
    statement: str
    dry_run: bool


class Audit(Noun):
    @operation("audit.tail")
    def tail(
        self,
        *,
        after: int | None = None,
        limit: int = 100,
        wait: int = 0,
        action: str | None = None,
        outcome: str | None = None,
        actor: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        request_id: str | None = None,
        before: int | None = None,
    ) -> EventPage:
        """Events after `after`, or the newest (below `before`). `wait`: seconds that the server waits for one."""
        query = {
            "after": after,
            "limit": limit,
            "wait": wait or None,
            "action": action,
            "outcome": outcome,
            "actor": actor,
            "target": target,
            "since": since,
            "until": until,
            "request_id": request_id,
            "before": before,
        }
        return self._get(EventPage, _PATH, query, timeout=wait + 30.0)

    @operation("audit.sinks")
    def sinks(self) -> Sinks:
        """To whom the server that answers tells the log, in the order of its configuration."""
        return self._get(Sinks, f"{_PATH}/sinks")

    @operation("audit.show")
    def show(self, sequence: int) -> EventDetail:
        return self._get(EventDetail, f"{_PATH}/events/{sequence}")

    @operation("audit.proof")
    def proof(self, sequence: int) -> Proof:
        """That the event is under the newest checkpoint; to be verified by who asks (sds.audit.merkle)."""
        return self._get(Proof, f"{_PATH}/events/{sequence}/proof")

    @operation("audit.checkpoint")
    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The newest, or the one of that size."""
        return self._get(Checkpoint, f"{_PATH}/checkpoint", {"size": size})

    @operation("audit.checkpoints")
    def checkpoints(self, before: int | None = None, limit: int = 100) -> Checkpoints:
        return self._get(Checkpoints, f"{_PATH}/checkpoints", {"before": before, "limit": limit})

    @operation("audit.consistency")
    def consistency(self, first: int, second: int) -> Consistency:
        """That the tree of `second` leaves begins with that of `first`; to be verified by who asks."""
        return self._get(Consistency, f"{_PATH}/consistency", {"from": first, "to": second})

    @operation("audit.keys")
    def keys(self) -> Keys:
        return self._get(Keys, f"{_PATH}/keys")

    @operation("audit.key.rotate")
    def rotate_key(self) -> Key:
        return self._post(Key, f"{_PATH}/keys:rotate")

    @operation("audit.export")
    def export(
        self, export_format: Literal["jsonl", "csv"] = "jsonl", wanted: Mapping[str, object] | None = None
    ) -> Iterator[bytes]:
        """The log up to its newest checkpoint, line by line as it comes. `wanted`: filters as `tail` has them."""
        return self._calls.lines(f"{_PATH}:export", {**(wanted or {}), "format": export_format})

    @operation("audit.verify")
    def verify(self, checkpoints: Sequence[str] = ()) -> Verdict:
        """Have the server hold its database against what was signed, and against these notes of checkpoints."""
        return self._post(Verdict, f"{_PATH}:verify", {"checkpoints": list(checkpoints)}, keyed=False, timeout=_LONG)

    @operation("audit.prune")
    def prune(self, before: datetime, *, dry_run: bool = True) -> Pruned:
        """Have events taken that are older than `before`. Raises ApprovalNeeded where somebody else has to agree."""
        body = {"before": before.isoformat(), "dry_run": dry_run}
        return self._post(Pruned, f"{_PATH}:prune", body, timeout=_LONG)
