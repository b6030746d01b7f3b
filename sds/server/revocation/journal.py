"""What a restored database must not forget, as lines of a file beside it: each sealed by a digest over all before it.

The database has the truth; this says what the truth once was. Pure: lines in, facts out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from ca.revocation import Reason
from sds.store.errors import StoreError
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord

TAINTED, REVOKED = "tainted", "revoked"
_SEAL_CHARACTERS = 32
_ITEMS_A_LINE = 500
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class JournalUnusable(StoreError):
    """The journal cannot be read or written, or is not what was written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The highest numbers that were ever seen. `revision` counts within `epoch`, the last one."""

    epoch: str = ""
    revision: int = 0
    bundle_sequence: int = 0
    crl_number: int = 0

    def behind(self, other: Marks) -> bool:
        """Whether something here is lower than in `other`."""
        return (
            (self.epoch == other.epoch and self.revision < other.revision)
            or self.bundle_sequence < other.bundle_sequence
            or self.crl_number < other.crl_number
        )


@dataclass(frozen=True, slots=True)
class Known:
    """All that the journal says. `epochs`: every name that the database had. `authorities`: the ids of those that were
    distrusted, each TAINTED or REVOKED.
    """

    epochs: frozenset[str] = frozenset()
    marks: Marks = Marks()
    blocks: Mapping[str, BlockRecord] = field(default_factory=dict)
    revocations: Mapping[str, RevocationRecord] = field(default_factory=dict)
    authorities: Mapping[str, str] = field(default_factory=dict)

    def news(self, now: Known) -> Known:
        """What `now` says and this does not."""
        return Known(
            now.epochs - self.epochs,
            now.marks,
            {name: block for name, block in now.blocks.items() if self.blocks.get(name) != block},
            {name: one for name, one in now.revocations.items() if self.revocations.get(name) != one},
            {name: one for name, one in now.authorities.items() if self.authorities.get(name) != one},
        )

    def joined(self, news: Known) -> Known:
        """Both; of two things with one name the newer stands."""
        return Known(
            self.epochs | news.epochs,
            news.marks if news.marks.epoch else self.marks,
            {**self.blocks, **news.blocks},
            {**self.revocations, **news.revocations},
            {**self.authorities, **news.authorities},
        )

    def __bool__(self) -> bool:
        """Whether it says anything but marks."""
        return bool(self.epochs or self.blocks or self.revocations or self.authorities)

    def unexpired(self, now: datetime) -> Known:
        """Without the certificates that have expired, and without holds that were lifted."""
        kept = {
            serial: one
            for serial, one in self.revocations.items()
            if one.not_after >= now and not (one.reason is Reason.CERTIFICATE_HOLD and self._lifted(one.block_id))
        }
        return replace(self, revocations=kept)

    def _lifted(self, block_id: str) -> bool:
        block = self.blocks.get(block_id)
        return block is not None and not block.standing


def encode(facts: Known, seal: str = "") -> tuple[bytes, str]:
    """Lines that say `facts`, after those that ended with `seal`; and the seal that they end with."""
    lines: list[bytes] = []
    for document in _documents(facts):
        text = json.dumps(document, separators=(",", ":"), sort_keys=True)
        seal = _seal(seal, text)
        lines.append(f"{seal} {text}\n".encode())
    return b"".join(lines), seal


def decode(content: bytes) -> tuple[Known, str, int]:
    """What the lines say, their last seal, and how many bytes of `content` are sound.

    A last line that was cut off, because the machine went down, was never acknowledged: it is left out. Anything else
    that does not fit raises JournalUnusable.
    """
    said, seal, at = _Said(), "", 0
    while at < len(content):
        end = content.find(b"\n", at)
        try:
            seal = said.line(content[at:end], seal) if end >= 0 else _cut_off()
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            if end < 0 or end == len(content) - 1:
                break
            raise JournalUnusable(
                "the journal of revocations is damaged: restore it, or move it away; what the database itself has "
                "forgotten is then lost"
            ) from error
        at = end + 1
    return said.known(), seal, at


def _cut_off() -> str:
    raise ValueError("the line has no end")


class _Said:
    """What the lines have said so far."""

    def __init__(self) -> None:
        self._epochs: set[str] = set()
        self._marks = Marks()
        self._blocks: dict[str, BlockRecord] = {}
        self._revocations: dict[str, RevocationRecord] = {}
        self._authorities: dict[str, str] = {}

    def known(self) -> Known:
        return Known(frozenset(self._epochs), self._marks, self._blocks, self._revocations, self._authorities)

    def line(self, line: bytes, seal: str) -> str:
        """Take in the line that follows on the one with `seal`; returns its own. Raises what is wrong with it."""
        found, _, text = line.decode().partition(" ")
        if found != _seal(seal, text):
            raise ValueError("the seal does not fit")
        document = json.loads(text)
        match document["is"]:
            case "epoch":
                self._epochs.add(str(document["epoch"]))
            case "block":
                self._blocks[document["id"]] = _block(document)
            case "revoked":
                self._revocations |= {one.serial: one for one in map(_revocation, document["items"])}
            case "authority":
                self._authorities[str(document["id"])] = str(document["state"])
            case "marks":
                numbers = (int(document[name]) for name in ("revision", "bundle_sequence", "crl_number"))
                self._marks = Marks(str(document["epoch"]), *numbers)
            case _:
                pass  # of a newer version
        return found


def _seal(before: str, text: str) -> str:
    return sha256(f"{before}\n{text}".encode()).hexdigest()[:_SEAL_CHARACTERS]


def _documents(facts: Known) -> Iterator[dict[str, Any]]:
    for epoch in sorted(facts.epochs):
        yield {"is": "epoch", "epoch": epoch}
    for block in facts.blocks.values():
        yield {
            "is": "block",
            "id": block.id,
            "kind": block.kind.value,
            "value": block.value,
            "reason": block.reason.value,
            "incident": block.incident,
            "created_at": _micros(block.created_at),
            "created_by": block.created_by,
            "lifted_at": None if block.lifted_at is None else _micros(block.lifted_at),
            "lifted_by": block.lifted_by,
        }
    items = [
        [one.serial, one.authority_id, _micros(one.not_after), one.reason.value, _micros(one.revoked_at), one.block_id]
        for one in facts.revocations.values()
    ]
    for at in range(0, len(items), _ITEMS_A_LINE):
        yield {"is": "revoked", "items": items[at : at + _ITEMS_A_LINE]}
    for authority_id, state in facts.authorities.items():
        yield {"is": "authority", "id": authority_id, "state": state}
    if facts.marks.epoch:
        marks = facts.marks
        yield {
            "is": "marks",
            "epoch": marks.epoch,
            "revision": marks.revision,
            "bundle_sequence": marks.bundle_sequence,
            "crl_number": marks.crl_number,
        }


def _block(document: dict[str, Any]) -> BlockRecord:
    return BlockRecord(
        id=document["id"],
        kind=BlockKind(document["kind"]),
        value=document["value"],
        reason=Reason(document["reason"]),
        incident=document["incident"],
        created_at=_moment(document["created_at"]),
        created_by=document["created_by"],
        lifted_at=None if document["lifted_at"] is None else _moment(document["lifted_at"]),
        lifted_by=document["lifted_by"],
    )


def _revocation(item: Iterable[Any]) -> RevocationRecord:
    serial, authority_id, not_after, reason, revoked_at, block_id = item
    return RevocationRecord(serial, authority_id, _moment(not_after), Reason(reason), _moment(revoked_at), block_id)


def _micros(moment: datetime) -> int:
    return (moment - _START) // _MICROSECOND


def _moment(micros: int) -> datetime:
    return _START + micros * _MICROSECOND
