"""Leaves as the lines of an export. Runs in threads: at many thousand rows a second it would block the event loop."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sds.admin.services import AuditRow, UnreadableRow
from sds.admin.wire import csv
from sds.admin.wire.views import UNREADABLE
from sds.audit.canonical import NotCanonical, is_one_line
from sds.audit.export import leaf_line, unreadable
from sds.store.ledger.lines import LogLine
from sds.store.records import StoredEvent

Hashed = tuple[LogLine, bytes | None]
"""A leaf and its hash as the tree has it."""
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
COLUMNS = (
    "leaf", "sequence", "time", "action", "outcome", "actor_kind", "actor", "actor_address", "target_kind", "target",
    "reason", "request_id", "node", "id", "details", "leaf_hash",
)  # fmt: skip


def jsonl(lines: Sequence[Hashed]) -> bytes:
    return b"".join([leaf_line(line.leaf, line.seq or None, _event(line.canonical), stored) for line, stored in lines])


def csv_rows(lines: Sequence[Hashed]) -> bytes:
    return csv.rows([_row(line, stored) for line, stored in lines])


def csv_header() -> bytes:
    return csv.rows([COLUMNS])


def audit_row(stored: StoredEvent) -> AuditRow | UnreadableRow:
    if isinstance(stored.read, NotCanonical):
        return UnreadableRow(stored.seq, str(stored.read))
    return AuditRow(stored.seq, stored.read)


def _event(canonical: bytes | None) -> bytes | None:
    """What was altered into something that would break its line is not the event of its leaf: nothing else is said."""
    return canonical if canonical is None or is_one_line(canonical) else unreadable(canonical)


def _row(line: LogLine, stored: bytes | None) -> Sequence[object]:
    hashed = "" if stored is None else stored.hex()
    if line.canonical is None:  # gone: verification names it
        return (line.leaf, line.seq or None, *[None] * (len(COLUMNS) - 3), hashed)
    try:
        event = json.loads(line.canonical)
        actor, target = event["actor"], event["target"]
        values = (
            event["time"], event["action"], event["outcome"], actor["kind"], actor["id"],
            actor["address"], target["kind"], target["id"], event["reason"], event["request_id"], event["node"],
            event["id"], _encode(event["details"]),
        )  # fmt: skip
        "".join(values).encode()  # what is no text, or none that can be written
    except (KeyError, TypeError, ValueError, RecursionError):
        # Altered into something that is no event: verification names it, too.
        return (line.leaf, line.seq or None, None, UNREADABLE, "failure", *[None] * (len(COLUMNS) - 6), hashed)
    return (line.leaf, line.seq, *values, hashed)
