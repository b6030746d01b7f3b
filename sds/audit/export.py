"""The log as a file that verifies itself: JSON Lines, the first of which says what the tree was, the others the leaves.

Each line is canonical JSON (RFC 8785) and has the event's bytes in it as they are, so that reading them needs no
encoder and hashing them no guess.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sds.audit.canonical import canonical_json
from sds.audit.event import Json
from sds.audit.judge import Leaf
from sds.audit.merkle import MAX_SIZE, Frontier

VERSION = 1
LONGEST_LINE = 16 * 1024 * 1024
_BEFORE = b'{"event":'
_AFTER = re.compile(rb',"leaf":(\d{1,19}),"leaf_hash":(?:"([0-9a-f]{64})"|null),"sequence":(?:(\d{1,19})|null)\}\Z')
_LONGEST_AFTER = 160
_MOST_UNREADABLE = 64 * 1024


class InvalidExport(ValueError):
    """The file is no export of an audit log. The message never repeats it."""


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """What the first line says, none of it verified.

    `first` is the first leaf that follows, `frontier` the tree before it, `checkpoint` the note over all that follow.
    `filtered`: leaves are left out, so that no root can be had. Keys are texts, oldest first; prunings and endorsements
    are notes.
    """

    first: int
    frontier: Frontier
    checkpoint: str
    keys: tuple[str, ...]
    endorsements: tuple[str, ...]
    prunings: tuple[str, ...]
    filtered: bool = False

    def line(self) -> bytes:
        """Without its newline."""
        document: dict[str, Json] = {
            "checkpoint": self.checkpoint,
            "endorsements": self.endorsements,
            "filtered": self.filtered,
            "first": self.first,
            "frontier": [peak.hex() for peak in self.frontier.peaks],
            "keys": self.keys,
            "prunings": self.prunings,
            "version": VERSION,
        }
        return canonical_json({"export": document})


def leaf_line(leaf: int, sequence: int | None, canonical: bytes | None, stored: bytes | None) -> bytes:
    """A leaf's line, with its newline."""
    hashed = b"null" if stored is None else b'"%s"' % stored.hex().encode()
    number = b"null" if sequence is None else b"%d" % sequence
    event = b"null" if canonical is None else canonical
    return b'%s%s,"leaf":%d,"leaf_hash":%s,"sequence":%s}\n' % (_BEFORE, event, leaf, hashed, number)


def unreadable(altered: bytes) -> bytes:
    """What stands in place of bytes that were altered into what no line can hold: their beginning, in base64.

    Its hash is never that of the leaf, so that verification names the leaf.
    """
    return b'{"unreadable":"%s"}' % base64.b64encode(altered[:_MOST_UNREADABLE])


def parse_line(unverified: bytes) -> Leaf:
    """A leaf's line, without its newline. Raises InvalidExport."""
    start = max(0, len(unverified) - _LONGEST_AFTER)
    found = _AFTER.search(unverified, start)  # at the very end: an event may hold such a text, too
    if found is None or not unverified.startswith(_BEFORE):
        raise InvalidExport("a line is no leaf")
    event = unverified[len(_BEFORE) : found.start()]
    leaf, hashed, sequence = found.groups()
    return Leaf(
        int(leaf),
        None if sequence is None else int(sequence),
        None if event == b"null" else event,
        None if hashed is None else bytes.fromhex(hashed.decode()),
    )


def parse_header(unverified: bytes) -> ExportHeader:
    """The first line, without its newline. Raises InvalidExport."""
    try:
        document = json.loads(unverified)["export"]
        first = _first(document)
        return ExportHeader(
            first=first,
            frontier=Frontier(first, [bytes.fromhex(peak) for peak in _texts(document, "frontier")]),
            checkpoint=_text(document["checkpoint"]),
            keys=_texts(document, "keys"),
            endorsements=_texts(document, "endorsements"),
            prunings=_texts(document, "prunings"),
            filtered=document["filtered"] is not False,
        )
    except InvalidExport:
        raise
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InvalidExport("the file is no export of an audit log") from None


def _first(document: Mapping[str, Any]) -> int:
    if document["version"] != VERSION:
        raise InvalidExport("the export was written by another version of this program")
    first = document["first"]
    if type(first) is not int or not 0 <= first <= MAX_SIZE:
        raise InvalidExport("the file is no export of an audit log")
    return first


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = document[name]
    if not isinstance(values, list):
        raise InvalidExport("the file is no export of an audit log")
    return tuple(map(_text, values))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidExport("the file is no export of an audit log")
    return value
