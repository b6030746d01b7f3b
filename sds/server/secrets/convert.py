"""Between what agents are told of secrets and the node protocol's messages. Values are opened here, for the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sds._pb.sds.node.v1 import node_pb2
from sds.server.convert import timestamp
from sds.server.secrets.news import Absence, Delivery, Told

_REASONS = {
    Told.NOT_GRANTED: node_pb2.SecretAbsence.REASON_NOT_GRANTED,
    Told.UNAVAILABLE: node_pb2.SecretAbsence.REASON_UNAVAILABLE,
    Told.UNCHANGED: node_pb2.SecretAbsence.REASON_UNCHANGED,
}


def absence(one: Absence) -> node_pb2.SecretUpdate:
    return node_pb2.SecretUpdate(
        name=one.name, entry_ids=one.entry_ids, absence=node_pb2.SecretAbsence(reason=_REASONS[one.told])
    )


def delivery(one: Delivery) -> node_pb2.SecretUpdate:
    value = one.held.value
    return node_pb2.SecretUpdate(
        name=one.secret.name,
        entry_ids=[entry.id for entry in one.entries],
        value=node_pb2.SecretValue(
            kind=value.kind.value,
            version=value.version,
            fields=[node_pb2.SecretField(name=name, value=field.reveal()) for name, field in value.fields],
            not_after=timestamp(value.not_after),
        ),
    )


def responses(updates: Iterable[node_pb2.SecretUpdate], most: int) -> Iterator[node_pb2.WatchSecretsResponse]:
    """As few messages as there can be of at most `most` bytes each; a larger update has one of its own."""
    message = node_pb2.WatchSecretsResponse()
    size = 0
    for update in updates:
        more = update.ByteSize()
        if message.updates and size + more > most:
            yield message
            message, size = node_pb2.WatchSecretsResponse(), 0
        message.updates.append(update)
        size += more
    if message.updates:
        yield message
