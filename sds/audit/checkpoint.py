"""What the log's key signs: checkpoints (c2sp.org/tlog-checkpoint), statements of pruning, and the next key."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sds.audit.merkle import MAX_SIZE
from sds.audit.note import (
    InvalidNote,
    Sign,
    VerifierKey,
    decode_hash,
    parse_note,
    parse_vkey,
    sign_note,
)

PRUNED = "sds audit pruned v1"
NEXT_KEY = "sds audit next key v1"
"""First lines of what is no checkpoint; an origin has no spaces, so that none is taken for another."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_ORIGIN = re.compile(r"[^\s+]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree at one moment. `origin` names the log and no other."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Pruning:
    """What retention took: all events before leaf `size`, where the tree had `root`. Their hashes are kept."""

    origin: str
    size: int
    root: bytes
    before: datetime
    pruned_at: datetime

    @property
    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        return f"{PRUNED}\n{self.origin}\n{self.size}\n{root}\n{_time(self.before)}\n{_time(self.pruned_at)}\n"


def signed(text: str, key: VerifierKey, sign: Sign) -> str:
    """A note of a checkpoint's or statement's text."""
    return sign_note(text, key, sign)


def parse_checkpoint(unverified: str | bytes, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint in a note that one of `keys` has signed under the log's own name. Raises InvalidNote."""
    note = parse_note(unverified)
    lines = note.text.split("\n")
    if len(lines) != 4 or lines[3] or not _ORIGIN.fullmatch(lines[0]):  # we write no extension lines
        raise InvalidNote("a checkpoint has three lines: origin, size and root")
    found = Checkpoint(lines[0], _size(lines[1]), decode_hash(lines[2]))
    if any(key.name != found.origin for key in note.verified_by(keys)):
        raise InvalidNote("the checkpoint is signed by the key of another log")
    return found


def unverified_checkpoint(unverified: str | bytes) -> Checkpoint:
    """The checkpoint that a note says to be, whoever has signed it. Raises InvalidNote."""
    lines = parse_note(unverified).text.split("\n")
    if len(lines) != 4 or lines[3] or not _ORIGIN.fullmatch(lines[0]):
        raise InvalidNote("a checkpoint has three lines: origin, size and root")
    return Checkpoint(lines[0], _size(lines[1]), decode_hash(lines[2]))


def parse_pruning(unverified: str | bytes, keys: Iterable[VerifierKey]) -> Pruning:
    """The statement in a note that one of `keys` has signed. Raises InvalidNote."""
    note = parse_note(unverified)
    lines = note.text.split("\n")
    if len(lines) != 7 or lines[0] != PRUNED or lines[6]:
        raise InvalidNote("the note is no statement of pruning")
    verified = note.verified_by(keys)
    found = Pruning(lines[1], _size(lines[2]), decode_hash(lines[3]), _moment(lines[4]), _moment(lines[5]))
    if any(key.name != found.origin for key in verified):
        raise InvalidNote("the statement is signed by the key of another log")
    return found


def next_key_text(key: VerifierKey) -> str:
    """What a key that goes signs, so that whoever knows it can trust the one that comes."""
    return f"{NEXT_KEY}\n{key.text}\n"


def chain_of_keys(trusted: VerifierKey, notes: Sequence[str]) -> tuple[VerifierKey, ...]:
    """All keys that `trusted` vouches for, directly or through the next ones, itself first; `notes` are oldest first.

    Notes of keys before it are passed over. Raises InvalidNote if a note is none, or is signed falsely.
    """
    found = [trusted]
    for text in notes:
        note = parse_note(text)
        lines = note.text.split("\n")
        if len(lines) != 3 or lines[0] != NEXT_KEY or lines[2]:
            raise InvalidNote("the note does not name a next key")
        last = found[-1]
        if (last.name, last.id) not in {(each.name, each.key_id) for each in note.signatures}:
            continue
        note.verified_by([last])
        coming = parse_vkey(lines[1])
        if coming.name != trusted.name:
            raise InvalidNote("the next key is that of another log")
        found.append(coming)
    return tuple(found)


def _size(text: str) -> int:
    if not _SIZE.fullmatch(text) or int(text) > MAX_SIZE:
        raise InvalidNote("a size is written in decimal digits without leading zeroes")
    return int(text)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidNote("a time is not written by RFC 3339") from None
    if found.tzinfo is None or _time(found) != text:
        raise InvalidNote("a time is not written by RFC 3339 in UTC")
    return found
