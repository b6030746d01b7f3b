"""Whether what a source gave is fit to be sent, and in which form. Pure.

Every reason is exact and says nothing of the value: it goes to logs, to the audit log and to operators.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ca.masked import Masked
from sds.secrets.backend import Fetched
from sds.secrets.certificates import judge_authorities, judge_pair
from sds.secrets.errors import SecretMalformed
from sds.secrets.secret import SecretKind, SecretValue
from sds.secrets.tickets import KEY_BYTES

FIELD_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]{0,127})", re.ASCII)
"""The name of a value among several."""
SLOW = frozenset({SecretKind.CERTIFICATE, SecretKind.CA_BUNDLE})
"""Kinds that take milliseconds to judge, and a large RSA key hundreds: in a worker thread where others wait."""
MAX_TICKET_KEYS = 16
MAX_VERSION = 256

_Fields = Mapping[str, Masked[bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a value may be; bytes of one field, of all fields with their names, and how many fields."""

    max_value_bytes: int = 65536
    max_total_bytes: int = 262144
    max_fields: int = 64


@dataclass(frozen=True, slots=True)
class _Judged:
    """The fields to send, and when they end by themselves."""

    fields: tuple[tuple[str, Masked[bytes]], ...]
    not_after: datetime | None = None


def judge(kind: SecretKind, fetched: Fetched, now: datetime, limits: Limits) -> SecretValue:
    """The value to send. Raises SecretMalformed.

    1. It is within the limits. 2. Its source does not call it expired. 3. It is what its kind demands.
    """
    _check_size(fetched.fields, limits)  # 1
    if not 0 < len(fetched.version) <= MAX_VERSION:
        raise SecretMalformed("its version has no name, or too long a one")
    if fetched.not_after is not None and fetched.not_after <= now:  # 2
        raise SecretMalformed("it has expired")
    judged = _judge(kind, fetched.fields, now)  # 3
    return SecretValue(kind, fetched.version, judged.fields, _first(fetched.not_after, judged.not_after))


def _judge(kind: SecretKind, fields: _Fields, now: datetime) -> _Judged:
    match kind:
        case SecretKind.GENERIC:
            return _generic(fields)
        case SecretKind.MAP:
            return _map(fields)
        case SecretKind.CERTIFICATE:
            pair = judge_pair(_field(fields, "chain"), _field(fields, "private_key"), now)
            return _Judged((("chain", Masked(pair.chain)), ("private_key", pair.private_key)), pair.not_after)
        case SecretKind.CA_BUNDLE:
            bundle, ends = judge_authorities(_field(fields, "ca"), now)
            return _Judged((("ca", Masked(bundle)),), ends)
        case SecretKind.TICKETS:
            return _tickets(fields)


def _check_size(fields: _Fields, limits: Limits) -> None:
    if not fields:
        raise SecretMalformed("it has no fields")
    if len(fields) > limits.max_fields:
        raise SecretMalformed(f"it has more than {limits.max_fields} fields")
    total = 0
    for number, (name, value) in enumerate(fields.items(), start=1):
        size = len(value.reveal())
        if size > limits.max_value_bytes:
            raise SecretMalformed(f"{_called(name, number)} has more than {limits.max_value_bytes} bytes")
        total += size + len(name)
        if total > limits.max_total_bytes:
            raise SecretMalformed(f"it has more than {limits.max_total_bytes} bytes")


def _generic(fields: _Fields) -> _Judged:
    """One value, whatever its source calls it."""
    if len(fields) != 1:
        raise SecretMalformed("it has several fields, and a generic secret is one: name the field, or make it a map")
    (value,) = fields.values()
    _check_text("the value", value)
    return _Judged((("", value),))


def _map(fields: _Fields) -> _Judged:
    for number, (name, value) in enumerate(fields.items(), start=1):
        if not FIELD_NAME.fullmatch(name):
            raise SecretMalformed(
                f"the name of field {number} is not 1 to 128 letters, digits, dots, dashes, underscores and slashes"
            )
        _check_text(_called(name, number), value)
    return _Judged(tuple(sorted(fields.items(), key=lambda item: item[0])))


def _tickets(fields: _Fields) -> _Judged:
    """80 bytes each, as they are or in base64, under the names 0, 1, 2 ..."""
    if len(fields) > MAX_TICKET_KEYS:
        raise SecretMalformed(f"it has more than {MAX_TICKET_KEYS} session-ticket keys")
    names = [str(number) for number in range(len(fields))]
    if set(names) != set(fields):
        raise SecretMalformed("the fields of session-ticket keys are called 0, 1, 2 and so on")
    keys = [_ticket_key(name, fields[name]) for name in names]
    if len({key.reveal() for key in keys}) != len(keys):
        raise SecretMalformed("it has the same session-ticket key twice")
    return _Judged(tuple(zip(names, keys, strict=True)))


def _ticket_key(name: str, value: Masked[bytes]) -> Masked[bytes]:
    if len(value.reveal()) == KEY_BYTES:
        return value
    try:
        raw = base64.b64decode(value.reveal().strip(), validate=True)
    except (binascii.Error, ValueError):  # not chained: its context is the value
        raw = b""
    if len(raw) != KEY_BYTES:
        raise SecretMalformed(f"session-ticket key {name} is not {KEY_BYTES} bytes, as they are or in base64")
    return Masked(raw)


def _field(fields: _Fields, name: str) -> Masked[bytes]:
    """Others beside those that the kind has are not sent."""
    value = fields.get(name)
    if value is None:
        raise SecretMalformed(f"it has no field {name}")
    _check_text(name, value)
    return value


def _check_text(what: str, value: Masked[bytes]) -> None:
    if not value.reveal():
        raise SecretMalformed(f"{what} is empty")
    if b"\0" in value.reveal():
        raise SecretMalformed(f"{what} has a NUL byte, which no header and no file of text may have")


def _called(name: str, number: int) -> str:
    """A field in a reason; a strange name might be a value that was put in the wrong place."""
    return f"field {name}" if FIELD_NAME.fullmatch(name) else f"field {number}"


def _first(*times: datetime | None) -> datetime | None:
    return min(_given(times), default=None)


def _given(times: Iterable[datetime | None]) -> Iterable[datetime]:
    return (time for time in times if time is not None)
