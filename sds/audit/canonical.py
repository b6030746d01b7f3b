"""The bytes of an event: JSON in the canonical form of RFC 8785, stored as they are and hashed as they are.

Within what events may hold (no floats, integers of at most 53 bits, ASCII names) the standard library's encoder
already writes RFC 8785, ten times faster than a general implementation; a property test holds it to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from sds.audit.event import Actor, ActorKind, AuditEvent, Json, Outcome, Target

VERSION = 1
"""Of the event's shape; grows when a field changes its meaning."""
MAX_INTEGER = 2**53 - 1  # RFC 8785 3.2.2.3: beyond this, JSON readers disagree
MAX_DEPTH = 16
_NO_EVENT = "the bytes are not an audit event"

_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


class NotCanonical(ValueError):
    """The value has no canonical form that all readers agree on. The message never repeats the value."""


def canonical_json(value: Json) -> bytes:
    """`value` by RFC 8785. Raises NotCanonical for floats, big integers, names beyond ASCII, lone surrogates."""
    try:
        return _encode(_plain(value, 0)).encode()
    except UnicodeEncodeError:
        raise NotCanonical("a text holds half of a surrogate pair") from None


def canonical_bytes(event: AuditEvent) -> bytes:
    """The event by RFC 8785. Raises NotCanonical."""
    actor, target = event.actor, event.target
    document = {
        "action": event.action,
        "actor": {"address": actor.address, "id": actor.id, "kind": actor.kind},
        "details": {name: _plain(value, 1) for name, value in event.details.items() if _name(name)},
        "id": event.id,
        "node": event.node,
        "outcome": event.outcome,
        "reason": event.reason,
        "request_id": event.request_id,
        "target": {"id": target.id, "kind": target.kind},
        "time": _timestamp(event.time),
        "version": VERSION,
    }
    try:
        return _encode(document).encode()
    except UnicodeEncodeError:
        raise NotCanonical("a text holds half of a surrogate pair") from None


def parse_event(canonical: bytes) -> AuditEvent:
    """Read what `canonical_bytes` wrote. Raises NotCanonical if the bytes are something else.

    What it takes can be written again, as JSON in UTF-8. Members that are not known are passed over: versions add some.
    """
    try:
        document = _decoded(canonical)
        _check_version(document["version"])
        actor, target = document["actor"], document["target"]
        return AuditEvent(
            id=_text(document["id"]),
            time=_parsed_time(_text(document["time"])),
            action=_text(document["action"]),
            outcome=Outcome(document["outcome"]),
            actor=Actor(ActorKind(actor["kind"]), _text(actor["id"]), _text(actor["address"])),
            target=Target(_text(target["kind"]), _text(target["id"])),
            reason=_text(document["reason"]),
            request_id=_text(document["request_id"]),
            node=_text(document["node"]),
            details={name: _plain(value, 1) for name, value in document["details"].items() if _name(name)},
        )
    except NotCanonical:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise NotCanonical(_NO_EVENT) from None


def is_one_line(canonical: bytes) -> bool:
    """Whether the bytes are a JSON object that can stand in a line of JSON Lines; what we wrote always is."""
    if b"\n" in canonical or b"\r" in canonical:
        return False
    try:
        _decoded(canonical)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _check_version(version: object) -> None:
    if type(version) is not int:
        raise NotCanonical(_NO_EVENT)
    if version != VERSION:
        raise NotCanonical("the event was written by another version of this program")


def _decoded(canonical: bytes) -> dict[str, Any]:
    """A JSON object without what no other reader would take. Raises ValueError, TypeError, RecursionError."""
    text = canonical.decode()
    document = _decode(text)
    if type(document) is not dict:
        raise NotCanonical(_NO_EVENT)
    if "\\u" in text:  # perhaps half of a surrogate pair
        _encode(document).encode()
    return document


def _no_number(_: str) -> NoReturn:
    raise NotCanonical(_NO_EVENT)


_decode = json.JSONDecoder(parse_float=_no_number, parse_constant=_no_number).decode


def _text(value: object) -> str:
    if type(value) is not str:
        raise NotCanonical(_NO_EVENT)
    return value


def _parsed_time(text: str) -> datetime:
    if not text.endswith("Z"):
        raise NotCanonical(_NO_EVENT)
    return datetime.fromisoformat(text)


def _timestamp(time: datetime) -> str:
    """RFC 3339 with always six digits and Z, so that text order is time order."""
    if time.tzinfo is not UTC:
        if time.tzinfo is None:
            raise NotCanonical("the event's time has no time zone")
        time = time.astimezone(UTC)
    return time.isoformat(timespec="microseconds")[:-6] + "Z"


def _name(name: object) -> bool:
    """Refuses a member name whose place in RFC 8785's order (UTF-16) could differ from ours (code points)."""
    if not isinstance(name, str) or not name.isascii():
        raise NotCanonical("a name in the details is not an ASCII text")
    return True


def _plain(value: Json, depth: int) -> Json:
    """`value` as the plain lists and dicts the encoder knows, every scalar checked."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonical("an integer has more than 53 bits; write it as a text")
        return int(value)
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"the details are nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {str(name): _plain(item, depth + 1) for name, item in value.items() if _name(name)}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    raise NotCanonical(f"the details hold a {kind.__name__}; only texts, integers, booleans, lists and maps may stand")
