"""Envoy's SecretDiscoveryService and AggregatedDiscoveryService on grpc.aio, for attested callers.

Requests and responses cross gRPC as raw bytes: requests are parsed by `decode`, responses come encoded from a cache
that all streams share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from attestation.errors import AttestationRefused
from sds.clock import Clock
from sds.delivery.conversation import Variant, converse
from sds.delivery.decode import decode_sotw
from sds.delivery.encode import Encoder
from sds.delivery.errors import InvalidRequest, NoSuchSecret
from sds.delivery.fetching import known
from sds.delivery.messages import SECRET_TYPE, Node
from sds.delivery.places import Places
from sds.delivery.ports import Caller, CallerInfo, Callers, Observer, StreamInfo
from sds.delivery.registry import LiveStream, StreamRegistry
from sds.delivery.resource import Resource
from sds.delivery.session import Context, Session, Surroundings
from sds.delivery.status import INTERNAL, status_of
from sds.delivery.subscription import Limits
from sds.delivery.text import clean_name
from sds.delivery.view import tolerated

__all__ = ["Caller", "CallerInfo", "Callers", "DeliveryService", "DeliverySettings", "Observer", "StreamInfo"]

SDS = "envoy.service.secret.v3.SecretDiscoveryService"
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_LEFT = (grpc.aio.UsageError, grpc.aio.InternalError)
"""What grpc.aio raises from a read or a write once the client is gone."""


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Safe limits; every one of them ends only the stream or the call that breaks it."""

    streams: int = 20_000  # open at once, over all connections
    streams_per_connection: int = 4096  # an Envoy without ADS opens one for each secret of each cluster
    message_bytes: int = 1024 * 1024  # of one request; node metadata of Istio takes tens of kilobytes
    silent_grace: float = 2.0  # seconds until a stream without a request is served what its process wanted before
    patience: float = 5.0  # seconds that a fetch waits for secrets that are not here yet
    names: Limits = field(default_factory=Limits)


def server_options(settings: DeliverySettings, keepalive: float | None = None) -> list[tuple[str, int]]:
    """Options for the grpc.aio server.

    `keepalive` is in seconds: set it where the network can lose a peer without a word (TCP). On a Unix socket the
    kernel reports that at once, and pings would only cost.
    """
    options = [
        ("grpc.max_receive_message_length", settings.message_bytes),
        ("grpc.max_concurrent_streams", settings.streams_per_connection),
        # gRPC drops new calls beyond these at random, also those of clients that did nothing wrong.
        ("grpc.server.max_pending_requests", 50_000),
        ("grpc.server.max_pending_requests_hard_limit", 60_000),
        # Clients may ping as often as every 5 s, with or without calls, and are not cut off for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),
    ]
    if keepalive is not None:
        options += [
            ("grpc.keepalive_time_ms", int(keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options


@dataclass(frozen=True, slots=True)
class Fetch:
    """A unary call, as observers see it."""

    caller: CallerInfo
    node_id: str
    id: str = ""
    protocol: str = "fetch"


class DeliveryService:
    """Both xDS services. Add `handlers()` to a grpc.aio server made with `server_options`."""

    def __init__(
        self,
        callers: Callers,
        observer: Observer,
        registry: StreamRegistry,
        clock: Clock,
        settings: DeliverySettings | None = None,
        places: Places | None = None,
    ) -> None:
        """`places` are shared with the other services of the same server; without it this one has all to itself."""
        self._callers = callers
        self._observer = observer
        self._registry = registry
        self._clock = clock
        self._settings = settings or DeliverySettings()
        self._around = Surroundings(observer, registry, clock, self._settings.silent_grace)
        self._encoder = Encoder()
        self._places = places or Places(self._settings.streams)

    @property
    def encodings(self) -> Encoder:
        """The bytes of all resources in use."""
        return self._encoder

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Generic handlers with raw bytes on both sides."""
        stream, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
        return (
            grpc.method_handlers_generic_handler(
                SDS,
                {
                    "StreamSecrets": stream(self.stream_secrets),
                    "DeltaSecrets": stream(self.delta_secrets),
                    "FetchSecrets": unary(self.fetch_secrets),
                },
            ),
            grpc.method_handlers_generic_handler(
                ADS,
                {
                    "StreamAggregatedResources": stream(self.stream_aggregated_resources),
                    "DeltaAggregatedResources": stream(self.delta_aggregated_resources),
                },
            ),
        )

    async def stream_secrets(self, _requests: object, context: Context) -> None:
        await self._stream(Variant.SOTW, context)

    async def delta_secrets(self, _requests: object, context: Context) -> None:
        await self._stream(Variant.DELTA, context)

    async def stream_aggregated_resources(self, _requests: object, context: Context) -> None:
        await self._stream(Variant.ADS_SOTW, context)

    async def delta_aggregated_resources(self, _requests: object, context: Context) -> None:
        await self._stream(Variant.ADS_DELTA, context)

    async def fetch_secrets(self, raw: bytes, context: Context) -> bytes:
        try:
            return await self._fetch(raw, context.peer())
        except Exception as error:
            await self._abort("fetch", error, context)
            raise  # abort never returns

    async def _stream(self, variant: Variant, context: Context) -> None:
        try:
            await self._serve(variant, context)
        except _LEFT:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a status, the unforeseen ones without detail
            await self._abort(variant, error, context)

    async def _abort(self, protocol: str, error: Exception, context: Context) -> None:
        code, text = status_of(error)
        if (code, text) == INTERNAL:
            self._observer.crashed(protocol, error)
        await context.abort(code, text)

    async def _serve(self, variant: Variant, context: Context) -> None:
        if self._places.full:
            self._observer.rejected(context.peer(), variant, "too many streams")
        with self._places.one():
            caller = await self._identify(variant, context.peer())
            await self._hold(variant, context, caller)

    async def _identify(self, protocol: str, peer: str) -> Caller:
        try:
            return await self._callers.identify(peer)
        except AttestationRefused as refusal:
            self._observer.rejected(peer, protocol, str(refusal))
            raise

    async def _hold(self, variant: Variant, context: Context, caller: Caller) -> None:
        stream_id = self._registry.next_id()
        conversation = converse(variant, stream_id, self._settings.names, self._encoder)
        stream = LiveStream(stream_id, variant.value, caller, conversation.core, self._clock.monotonic())
        reason = ""
        self._registry.add(stream)
        self._observer.opened(stream)
        try:
            await Session(self._around, context, caller, conversation, stream).run()
        except _LEFT:
            raise
        except Exception as error:
            reason = status_of(error)[1]
            raise
        finally:
            self._registry.remove(stream)
            self._observer.closed(stream, reason)

    async def _fetch(self, raw: bytes, peer: str) -> bytes:
        """What the caller may have of the names asked for. Raises NoSuchSecret when that is nothing."""
        request = decode_sotw(raw)
        names = tuple(dict.fromkeys(request.names))
        if request.type_url not in {SECRET_TYPE, ""}:
            raise InvalidRequest("only secrets can be fetched here")
        self._settings.names.check(names, len(names))
        caller = await self._identify("fetch", peer)
        node = request.node or Node()
        async with known(caller, names, node.spiffe_validator, self._settings.patience) as view:
            seen = Fetch(caller.description, node.id)
            found: list[Resource] = []
            for name in names:
                resource = view.resolve(name, spiffe_validator=node.spiffe_validator)
                if resource is not None:
                    found.append(resource)
                    self._observer.sent(seen, clean_name(name), resource.version)
                elif not tolerated(name):
                    self._observer.refused(seen, clean_name(name), view.why(name))
            if not found:
                raise NoSuchSecret("none of the names is a secret that this caller may have")
            return self._encoder.fetch(found)
