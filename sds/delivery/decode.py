"""Envoy's bytes to requests: strict, and without ever repeating to anyone what could not be read."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from sds.delivery.errors import InvalidRequest
from sds.delivery.messages import DeltaRequest, Node, SotwRequest
from sds.delivery.text import MAX_DETAIL, MAX_NODE_ID, clean

VALIDATOR_KEY = "spiffe_validator"
SPIRE_DISABLE_KEY = "disable_spiffe_cert_validation"
"""Node metadata that SPIRE's users know; false asks for the validator."""

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def decode_sotw(raw: bytes) -> SotwRequest:
    """Parse a DiscoveryRequest. Raises InvalidRequest."""
    try:
        message = discovery_pb2.DiscoveryRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequest("the message is not a DiscoveryRequest") from None
    return SotwRequest(
        names=tuple(message.resource_names),
        nonce=message.response_nonce,
        error=_error(message),
        node=_node(message.node) if message.HasField("node") else None,
        type_url=message.type_url,
        holds=bool(message.version_info) and not message.response_nonce,
    )


def decode_delta(raw: bytes) -> DeltaRequest:
    """Parse a DeltaDiscoveryRequest. Raises InvalidRequest."""
    try:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequest("the message is not a DeltaDiscoveryRequest") from None
    return DeltaRequest(
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        nonce=message.response_nonce,
        error=_error(message),
        node=_node(message.node) if message.HasField("node") else None,
        type_url=message.type_url,
        holds=frozenset(message.initial_resource_versions),
    )


def _error(message: discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest) -> str | None:
    """A NACK shows by the presence of `error_detail` and by nothing else."""
    if not message.HasField("error_detail"):
        return None
    status = message.error_detail
    return clean(status.message, MAX_DETAIL) or f"code {status.code}"


def _node(message: NodeMessage) -> Node:
    asked = _flag(message, VALIDATOR_KEY)
    if asked is None:
        disabled = _flag(message, SPIRE_DISABLE_KEY)
        asked = disabled is not None and not disabled
    return Node(clean(message.id, MAX_NODE_ID), asked)


def _flag(message: NodeMessage, key: str) -> bool | None:
    """A boolean in the node's metadata, or a text that says one; anything else counts as absent, as in SPIRE."""
    fields = message.metadata.fields
    if key not in fields:  # looking a key up would add it
        return None
    value: Value = fields[key]
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return value.bool_value
    text = value.string_value.lower() if kind == "string_value" else ""
    return True if text in _TRUE else False if text in _FALSE else None
