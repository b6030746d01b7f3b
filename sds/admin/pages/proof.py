"""An event's proof, verified step by step while somebody looks on. Pure: it believes nothing but what is shown."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sds.audit.checkpoint import parse_checkpoint, unverified_checkpoint
from sds.audit.merkle import leaf_hash, verify_inclusion
from sds.audit.note import InvalidNote, parse_vkey


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked here; `value` is what it was checked with."""

    ok: bool
    title: str
    value: str


def verified(event: Mapping[str, Any], proof: Mapping[str, Any], keys: Sequence[str]) -> tuple[Step, ...]:
    """`event`, `proof` and `keys` (vkeys) as the API gave them. The event is proved if every step holds.

    1. What is shown is what was written: the canonical bytes say the same.
    2. Their hash is the leaf's (RFC 9162 section 2.1.1).
    3. A key of the log has signed the checkpoint (C2SP signed note), and it is of the size that the path is for.
    4. The path leads from the leaf to the checkpoint's root (RFC 9162 section 2.1.3.2).
    """
    content = str(event["canonical"]).encode()
    hashed = leaf_hash(content)
    note = str(proof["checkpoint"])
    signed, root, size = _checkpoint(note, keys)
    path = _path(proof["path"])
    leads = path is not None and verify_inclusion(int(proof["leaf"]), size, hashed, path, root)
    return (
        Step(
            _says_the_same(event, content), "The canonical bytes say what is shown above", f"{len(content)} bytes"
        ),  # 1
        Step(_text(hashed) == event["leaf_hash"], f"Their hash is leaf {proof['leaf']}", _text(hashed)),  # 2
        Step(
            signed and size == proof["size"], f"A key of the log has signed the checkpoint of {size} leaves", note
        ),  # 3
        Step(leads, f"{len(proof['path'])} hashes lead from the leaf to the checkpoint's root", _text(root)),  # 4
    )


def _says_the_same(event: Mapping[str, Any], content: bytes) -> bool:
    try:
        written = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(written, dict):
        return False
    return all(written.get(name) == event[name] for name in ("id", "action", "outcome", "reason", "request_id"))


def _checkpoint(note: str, keys: Sequence[str]) -> tuple[bool, bytes, int]:
    """Whether it is signed, its root and its size; what cannot be read proves nothing."""
    try:
        found = unverified_checkpoint(note)
    except InvalidNote:
        return False, b"", 0
    try:
        parse_checkpoint(note, [parse_vkey(each) for each in keys])
    except InvalidNote:
        return False, found.root, found.size
    return True, found.root, found.size


def _text(hashed: bytes) -> str:
    """As the API and checkpoints write it."""
    return base64.b64encode(hashed).decode()


def _path(texts: Sequence[str]) -> list[bytes] | None:
    try:
        return [base64.b64decode(each, validate=True) for each in texts]
    except (binascii.Error, ValueError):
        return None
