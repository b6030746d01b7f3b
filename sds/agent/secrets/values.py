"""From the node protocol's secrets to domain values, strictly: what is not exactly right is not used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ca.masked import Masked
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.convert import moment
from sds.agent.errors import InvalidAnswer
from sds.secrets.secret import SecretKind, SecretValue

MAX_FIELDS = 1_024
MAX_FIELD_NAME = 256  # characters
MAX_VERSION = 256  # characters


@dataclass(frozen=True, slots=True)
class Given:
    """These entries have this value under this name from now on."""

    name: str
    entry_ids: tuple[str, ...]
    value: SecretValue = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotGranted:
    """These entries have nothing under this name, and what they had they have no more."""

    name: str
    entry_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The value cannot be had now. What is held stays good."""

    name: str
    entry_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What is held is what the server would send."""

    name: str
    entry_ids: tuple[str, ...]


SecretUpdate = Given | NotGranted | Unavailable | Unchanged

_ABSENCES: dict[int, type[NotGranted | Unavailable | Unchanged]] = {
    node_pb2.SecretAbsence.REASON_NOT_GRANTED: NotGranted,
    node_pb2.SecretAbsence.REASON_UNAVAILABLE: Unavailable,
    node_pb2.SecretAbsence.REASON_UNCHANGED: Unchanged,
}


def updates(message: node_pb2.WatchSecretsResponse, max_bytes: int) -> tuple[list[SecretUpdate], list[str]]:
    """What the message says, and what is wrong with it, in words that have no value in them.

    What cannot be understood harms only itself: a bad value counts as one that cannot be had now. `max_bytes` bounds
    all fields of one value together.
    """
    found: list[SecretUpdate] = []
    problems: list[str] = []
    for one in message.updates:
        entry_ids = tuple(dict.fromkeys(one.entry_ids))
        try:
            found.append(_update(one, entry_ids, max_bytes))
        except InvalidAnswer as error:
            problems.append(f"{one.name[:128]}: {error}")
            found.append(Unavailable(one.name, entry_ids))
    return found, problems


def _update(one: node_pb2.SecretUpdate, entry_ids: tuple[str, ...], max_bytes: int) -> SecretUpdate:
    """Raises InvalidAnswer."""
    state = one.WhichOneof("state")
    if state == "value":
        return Given(one.name, entry_ids, _value(one.value, max_bytes))
    absence = _ABSENCES.get(one.absence.reason) if state == "absence" else None
    if absence is None:
        raise InvalidAnswer("it says neither what the value is nor why there is none")
    return absence(one.name, entry_ids)


def _value(message: node_pb2.SecretValue, max_bytes: int) -> SecretValue:
    """Raises InvalidAnswer."""
    try:
        kind = SecretKind(message.kind)
        not_after = moment(message.not_after) if message.HasField("not_after") else None
    except ValueError:
        raise InvalidAnswer("its kind or its end is not one that this agent knows") from None
    if not 0 < len(message.version) <= MAX_VERSION or not message.version.isprintable():
        raise InvalidAnswer("it has no version that could be shown")
    return SecretValue(kind, message.version, tuple(_fields(message, max_bytes)), not_after)


def _fields(message: node_pb2.SecretValue, max_bytes: int) -> Iterator[tuple[str, Masked[bytes]]]:
    """Raises InvalidAnswer."""
    names = [one.name for one in message.fields]
    if not 0 < len(names) <= MAX_FIELDS or len(set(names)) < len(names):
        raise InvalidAnswer("it has no fields, too many of them, or two with one name")
    if any(len(name) > MAX_FIELD_NAME or not name.isprintable() for name in names):
        raise InvalidAnswer("a field's name is too long or cannot be shown")
    if sum(len(one.value) for one in message.fields) > max_bytes:
        raise InvalidAnswer(f"its value is larger than {max_bytes} bytes")
    for one in message.fields:
        yield one.name, Masked(one.value)
