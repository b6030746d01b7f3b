"""PEM (RFC 7468), read strictly: whole blocks of the expected kinds, and nothing else that looks like one. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection

from ca.masked import Masked
from sds.secrets.errors import SecretMalformed

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_MARK = b"-----"
_ENCRYPTED = b"ENCRYPTED"


def read_blocks(what: str, text: Masked[bytes], kinds: Collection[str], limit: int) -> tuple[Masked[bytes], ...]:
    """The DER of every block, 1 to `limit` of them, all of `kinds`. `what` begins each reason.

    Explanatory text between blocks is left out (5.2), but not what could be the rest of a block.
    Raises SecretMalformed.
    """
    found: list[Masked[bytes]] = []
    end = 0
    content = text.reveal()
    for match in _BLOCK.finditer(content):
        _check_between(what, content[end : match.start()])
        end = match.end()
        kind = match[1].decode("ascii")
        if kind not in kinds:
            raise SecretMalformed(_other_kind(what, match[1]))
        if len(found) == limit:
            raise SecretMalformed(f"{what} has more than {limit} PEM blocks")
        found.append(_decode(what, len(found) + 1, match[2]))
    _check_between(what, content[end:])
    if not found:
        raise SecretMalformed(f"{what} holds no PEM block")
    return tuple(found)


def write_block(kind: str, der: bytes) -> bytes:
    """One block in the strict form: lines of 64 characters, a newline at the end (RFC 7468 section 3)."""
    encoded = base64.b64encode(der)
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    return b"\n".join((b"-----BEGIN %b-----" % kind.encode(), *lines, b"-----END %b-----" % kind.encode(), b""))


def _check_between(what: str, text: bytes) -> None:
    if _MARK not in text:
        return
    if _ENCRYPTED in text:
        raise SecretMalformed(f"{what} is encrypted; store it without a passphrase")
    raise SecretMalformed(f"{what} has a PEM block that is cut off or damaged")


def _other_kind(what: str, kind: bytes) -> str:
    if _ENCRYPTED in kind:
        return f"{what} is encrypted; store it without a passphrase"
    if kind.endswith(b"PRIVATE KEY"):
        return f"{what} holds a private key, which does not belong there"
    return f"{what} has a PEM block of another kind than it should"


def _decode(what: str, number: int, body: bytes) -> Masked[bytes]:
    try:
        return Masked(base64.b64decode(b"".join(body.split()), validate=True))
    except binascii.Error:  # not chained: its context is the value
        raise SecretMalformed(f"PEM block {number} of {what} is no base64") from None
