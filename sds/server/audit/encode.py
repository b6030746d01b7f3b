"""Leaves as the lines of an export. Runs in threads: at many thousand rows a second it would block the event loop."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sds.admin.wire import csv
from sds.audit.export import leaf_line
from sds.store.ledger.lines import LogLine

Hashed = tuple[LogLine, bytes | None]
"""A leaf and its hash as the tree has it."""
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
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
        event = json.loads(line.canonical or b"")
        actor, target = event["actor"], event["target"]
        return (
            line.leaf, line.seq, event["time"], event["action"], event["outcome"], actor["kind"], actor["id"],
            actor["address"], target["kind"], target["id"], event["reason"], event["request_id"], event["node"],
            event["id"], _encode(event["details"]), hashed,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, RecursionError):
        # Gone, or altered into something that is no event: verification names it.
        return (line.leaf, line.seq or None, *[None] * (len(COLUMNS) - 3), hashed)
