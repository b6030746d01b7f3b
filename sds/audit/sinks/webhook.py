"""The body of a webhook's delivery, and the headers that prove who sent it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from ca.masked import Masked
from sds.audit.sinks.items import Item, line

TIME_HEADER, SIGNATURE_HEADER = "X-SDS-Time", "X-SDS-Signature"
DELIVERY_HEADER = "X-SDS-Delivery"


def body(sink: str, items: Sequence[Item]) -> bytes:
    """``{"items":[…],"sink":…}`` with what `line` makes, in order. `sink` is of letters, digits, ``-`` and ``_``."""
    return b'{"items":[%b],"sink":"%b"}' % (b",".join(map(line, items)), sink.encode())


def signed_headers(key: Masked[bytes], seconds: int, content: bytes) -> dict[str, str]:
    """HMAC-SHA256 (RFC 2104) over the time (`seconds` since 1970), a dot and the body.

    The delivery's name is a hash of the body, so that one that comes again has the same.
    """
    time = str(seconds)
    signature = hmac.new(key.reveal(), time.encode() + b"." + content, hashlib.sha256).hexdigest()
    return {
        TIME_HEADER: time,
        SIGNATURE_HEADER: f"sha256={signature}",
        DELIVERY_HEADER: hashlib.sha256(content).hexdigest()[:32],
    }
