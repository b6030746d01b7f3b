"""Leaves as the lines of an export. Runs in threads: at many thousand rows a second it would block the event loop."""

from __future__ import annotations

from collections.abc import Sequence

from sds.admin.wire import csv
from sds.audit.canonical import NotCanonical, canonical_json, parse_event
from sds.audit.export import leaf_line
from sds.store.ledger.lines import LogLine

Hashed = tuple[LogLine, bytes | None]
"""A leaf and its hash as the tree has it."""
COLUMNS = (
    "leaf", "sequence", "time", "action", "outcome", "actor_kind", "actor", "actor_address", "target_kind", "target",
    "reason", "request_id", "node", "id", "details", "leaf_hash",
)  # fmt: skip


def jsonl(lines: Sequence[Hashed]) -> bytes:
    return b"".join([leaf_line(line.leaf, line.seq or None, line.canonical, stored) for line, stored in lines])


def csv_rows(lines: Sequence[Hashed]) -> bytes:
    return csv.rows([_row(line, stored) for line, stored in lines])


def csv_header() -> bytes:
    return csv.rows([COLUMNS])


def _row(line: LogLine, stored: bytes | None) -> Sequence[object]:
    hashed = "" if stored is None else stored.hex()
    try:
        event = parse_event(line.canonical or b"")
    except NotCanonical:  # gone, or altered into something that is no event: verification names it
        return (line.leaf, line.seq or None, *[None] * (len(COLUMNS) - 3), hashed)
    return (
        line.leaf, line.seq, event.time, event.action, event.outcome, event.actor.kind, event.actor.id,
        event.actor.address, event.target.kind, event.target.id, event.reason, event.request_id, event.node, event.id,
        canonical_json(event.details).decode(), hashed,
    )  # fmt: skip
