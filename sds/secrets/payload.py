"""The fields of a value as the bytes that are sealed. Pure.

Lengths before each part and nothing else: no text format, whose errors would quote the value. Names are sorted, so that
equal fields give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from ca.masked import Masked
from sds.secrets.errors import SecretMalformed

_MAGIC = b"sds1"
_LENGTH = 4
MAX_FIELDS = 65536


def encode_fields(fields: Mapping[str, Masked[bytes]]) -> Masked[bytes]:
    """Raises ValueError for more than `MAX_FIELDS`."""
    if len(fields) > MAX_FIELDS:
        raise ValueError("too many fields")
    parts = [_MAGIC, len(fields).to_bytes(_LENGTH, "big")]
    for name in sorted(fields):
        for part in (name.encode("utf-8", "surrogatepass"), fields[name].reveal()):
            parts += [len(part).to_bytes(_LENGTH, "big"), part]
    return Masked(b"".join(parts))


def decode_fields(payload: Masked[bytes]) -> Mapping[str, Masked[bytes]]:
    """What `encode_fields` was given. Raises SecretMalformed for anything that it would not have made."""
    rest = _Rest(payload)
    if rest.take(len(_MAGIC)) != _MAGIC:
        raise _malformed()
    count = rest.number()
    if count > MAX_FIELDS:
        raise _malformed()
    found: dict[str, Masked[bytes]] = {}
    for _ in range(count):
        name = _text(rest.take(rest.number()))
        if found and name <= next(reversed(found)):
            raise _malformed()
        found[name] = Masked(rest.take(rest.number()))
    rest.end()
    return found


class _Rest:
    """What has not been read yet."""

    __slots__ = ("_at", "_payload")

    def __init__(self, payload: Masked[bytes]) -> None:
        self._payload = payload
        self._at = 0

    def take(self, length: int) -> bytes:
        taken = self._payload.reveal()[self._at : self._at + length]
        if len(taken) != length:
            raise _malformed()
        self._at += length
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(_LENGTH), "big")

    def end(self) -> None:
        if self._at != len(self._payload.reveal()):
            raise _malformed()


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise _malformed() from None


def _malformed() -> SecretMalformed:
    return SecretMalformed("the stored value is not one that was stored by this program")
