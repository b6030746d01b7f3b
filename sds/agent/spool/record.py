"""The bytes of a spool's segment: records one after another, each with its length, checksum and number. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAGIC = b"sds events 1\n"
MAX_PAYLOAD = 1024 * 1024
_HEAD = struct.Struct(">IIQ")  # length of the payload, CRC-32 of what follows, number


@dataclass(frozen=True, slots=True)
class Record:
    """An event as the server is told it, and its number in the run. `end` is where the next record begins."""

    number: int
    payload: bytes
    end: int


def encode(events: Iterable[tuple[int, bytes]]) -> bytes:
    """Records of (number, payload)."""
    return b"".join(
        _HEAD.pack(len(payload), zlib.crc32(number.to_bytes(8) + payload), number) + payload
        for number, payload in events
    )


def decode(content: bytes, start: int = len(MAGIC)) -> Iterator[Record]:
    """Up to the end, or to what was torn by a power cut or a kill: nothing behind that can be told apart."""
    last = 0
    while start + _HEAD.size <= len(content):
        length, checksum, number = _HEAD.unpack_from(content, start)
        end = start + _HEAD.size + length
        if length > MAX_PAYLOAD or end > len(content) or number <= last:
            return
        payload = content[start + _HEAD.size : end]
        if zlib.crc32(number.to_bytes(8) + payload) != checksum:
            return
        yield Record(number, payload, end)
        start, last = end, number
