"""What goes into the stream cores and what comes out: requests as parsed at the edge, effects, and sends. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sds.delivery.resource import Resource

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type, no secret

STALE_NONCE = "stale nonce"
OTHER_TYPE = "other type"
NO_IDENTITY = "no entry matches the caller"
NO_CERTIFICATE = "an entry matches the caller, but there is no certificate for it that is valid now"
NOT_GRANTED = "unknown or not granted"
NO_VALUE = "there is no value for it now"
EXPIRED = "its value has expired"


@dataclass(frozen=True, slots=True)
class Node:
    """What a client says of itself: good for logs and for the form of a bundle, never for identity."""

    id: str = ""  # bounded and printable
    spiffe_validator: bool = False  # bundles for Envoy's SPIFFE validator rather than as plain CAs


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest. `error` is the cleaned text of `error_detail`, None where that is absent.

    `holds`: the client comes back from another stream and may hold something under these names.
    """

    names: tuple[str, ...] = ()
    nonce: str = ""
    error: str | None = None
    node: Node | None = None
    type_url: str = SECRET_TYPE
    holds: bool = False


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest.

    The values of `initial_resource_versions` are left out on purpose: every subscribed name is answered, because some
    clients do not ask again for what they lack (envoy #33607). `holds`: what the client has, from another stream.
    """

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    nonce: str = ""
    error: str | None = None
    node: Node | None = None
    type_url: str = SECRET_TYPE
    holds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Acked:
    """The client took `version` of `name`, `seconds` after it was sent. An empty version: it knows there is none."""

    name: str
    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client rejected `version` of `name` and keeps what it had."""

    name: str
    version: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reaffirmed:
    """The client was sent `version` of `name` before; it is what a newer bundle, `sequence`, would give it too."""

    name: str
    version: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A request, or its acknowledgement, meant nothing here: STALE_NONCE or OTHER_TYPE."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A name that the client asked for cannot be given; why, is NO_IDENTITY or one of those below it.

    Once until that changes.
    """

    name: str
    reason: str


Effect = Acked | Nacked | Reaffirmed | Ignored | Refused


@dataclass(frozen=True, slots=True)
class Send:
    """Put `resource` on the wire now, under `nonce`. None (Delta only): tell that there is nothing under `name`."""

    name: str
    resource: Resource | None
    nonce: str
