"""Syslog messages: RFC 5424, and how they follow one another on a connection (RFC 6587 3.4.1, octet counting)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sds.audit.sinks.items import Item, Signed, line, seen

FACILITIES = {
    "user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "audit": 13,
    "local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}  # fmt: skip
"""RFC 5424 6.2.1."""
_SEVERITIES = {"success": 6, "refused": 4, "failure": 3}  # informational, warning, error
APP_NAME = "sds"
MIN_BYTES = 2_048
"""RFC 5424 6.1: what every receiver should take. A message without its event always fits."""
_MAX_PARAM = 200
"""Bytes of one value in the structured data; the event has all of it."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BOM = b"\xef\xbb\xbf"  # RFC 5424 6.4: what follows is UTF-8


@dataclass(frozen=True, slots=True)
class SyslogFormat:
    """`facility` as in FACILITIES; `max_bytes` of one message, at least MIN_BYTES; `host` where an event names none."""

    facility: str
    enterprise_number: int
    max_bytes: int
    host: str


def message(item: Item, form: SyslogFormat, now: datetime) -> bytes:
    """One message. `now` is the time of a checkpoint's message; an event's is its own.

    What would be larger than allowed is sent without the event, which `left_out` then counts the bytes of.
    """
    if isinstance(item, Signed):
        stamp = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        params = {"checkpoint": str(item.size)}
        return _fitting(_head(form, "success", stamp, form.host, "audit.checkpoint"), params, line(item), form)
    event = seen(item)
    head = _head(form, event.outcome, event.time, event.node or form.host, event.action)
    params = {
        "leaf": str(item.leaf), "sequence": str(item.sequence), "id": event.id, "outcome": event.outcome,
        "actor": event.actor_id, "address": event.address, "target": event.target_id, "kind": event.target_kind,
        "request": event.request_id,
    }  # fmt: skip
    return _fitting(head, params, line(item), form)


def framed(one: bytes) -> bytes:
    """The message behind its length: for TCP and TLS (RFC 6587 3.4.1, RFC 5425 4.3)."""
    return b"%d %b" % (len(one), one)


def _head(form: SyslogFormat, outcome: str, time: str, host: str, action: str) -> bytes:
    """PRI, version, time, host, application, no process, and the action as MSGID (RFC 5424 6.2)."""
    priority = FACILITIES[form.facility] * 8 + _SEVERITIES.get(outcome, 5)
    moment = time if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time, re.ASCII) else "-"
    return f"<{priority}>1 {moment} {_printable(host, 255)} {APP_NAME} - {_printable(action, 32)}".encode()


def _printable(text: str, limit: int) -> str:
    """Printable ASCII without spaces (RFC 5424 6: PRINTUSASCII); "-" for nothing."""
    return "".join(one if "!" <= one <= "~" else "?" for one in text[:limit]) or "-"


def _fitting(head: bytes, params: dict[str, str], text: bytes, form: SyslogFormat) -> bytes:
    whole = b"%b %b %b%b" % (head, _structured(params, form), _BOM, text)
    if len(whole) <= form.max_bytes:
        return whole
    return b"%b %b" % (head, _structured({**params, "left_out": str(len(text))}, form))


def _structured(params: dict[str, str], form: SyslogFormat) -> bytes:
    """SD-ELEMENT (RFC 5424 6.3); what is empty is left out."""
    given = b"".join(b' %b="%b"' % (name.encode(), _value(text)) for name, text in params.items() if text)
    return b"[sds@%d%b]" % (form.enterprise_number, given)


def _value(text: str) -> bytes:
    r"""PARAM-VALUE (RFC 5424 6.3.3): ``"``, ``\`` and ``]`` behind a ``\``; no control characters; cut to its bound.

    Half a surrogate pair is no UTF-8, and becomes a question mark.
    """
    clean = _CONTROL.sub("?", text).encode("utf-8", "replace")
    out = bytearray()
    for one in clean[:_MAX_PARAM].decode("utf-8", "ignore"):
        out += b"\\" + one.encode() if one in '"\\]' else one.encode()
        if len(out) >= _MAX_PARAM:
            break
    return bytes(out)
