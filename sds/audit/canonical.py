"""The bytes of an event: JSON in the canonical form of RFC 8785, stored as they are and hashed as they are.

Within what events may hold (no floats, integers of at most 53 bits, ASCII names) the standard library's encoder
already writes RFC 8785, ten times faster than a general implementation; a property test holds it to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from sds.audit.event import Actor, ActorKind, AuditEvent, Json, Outcome, Target

VERSION = 1
"""Of the event's shape; grows when a field changes its meaning."""
MAX_INTEGER = 2**53 - 1  # RFC 8785 3.2.2.3: beyond this, JSON readers disagree
MAX_DEPTH = 16

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
    """Read what `canonical_bytes` wrote. Raises NotCanonical if the bytes are something else."""
    try:
        document = json.loads(canonical)
        if document["version"] != VERSION:
            raise NotCanonical("the event was written by another version of this program")
        return AuditEvent(
            id=document["id"],
            time=datetime.fromisoformat(document["time"]),
            action=document["action"],
            outcome=Outcome(document["outcome"]),
            actor=Actor(ActorKind(document["actor"]["kind"]), document["actor"]["id"], document["actor"]["address"]),
            target=Target(document["target"]["kind"], document["target"]["id"]),
            reason=document["reason"],
            request_id=document["request_id"],
            node=document["node"],
            details=document["details"],
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, NotCanonical):
            raise
        raise NotCanonical("the bytes are not an audit event") from None


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
