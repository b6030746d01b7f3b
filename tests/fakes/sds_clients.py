"""Clients that behave on the wire as Envoy and MOSN do, over any grpc.aio channel. For contract and e2e tests and loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import discovery_pb2 as xds

from tests.fakes.xds_client import SECRET_TYPE, Client, Judge, node

__all__ = ["ADS", "SDS", "SECRET_TYPE", "EnvoyDelta", "EnvoySotw", "Judge", "Mosn", "node"]

SDS = "/envoy.service.secret.v3.SecretDiscoveryService/"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
REJECTED = 13  # google.rpc.Code.INTERNAL, as Envoy says it


class EnvoySotw(Client):
    """Envoy on StreamSecrets or ADS: each request lists every name that is wanted; rejects what it did not ask for."""

    METHODS: ClassVar = {False: f"{SDS}StreamSecrets", True: f"{ADS}StreamAggregatedResources"}
    REQUEST: ClassVar = xds.DiscoveryRequest
    RESPONSE: ClassVar = xds.DiscoveryResponse

    def __init__(self, channel: grpc.aio.Channel, names: Sequence[str] = (), **options: Any) -> None:
        super().__init__(channel, **options)
        self.names = list(names)
        self._nonce = ""
        self._accepted = ""  # version_info: the last one taken on this type

    async def connect(self) -> Self:
        """Open and ask. The last accepted version goes along after a reconnect, the nonce does not."""
        await super().connect()
        self._nonce = ""
        if self.names:
            await self.request()
        return self

    async def want(self, *names: str) -> None:
        """From now on exactly these."""
        self.names = list(names)
        await self.request()

    async def request(self, error: str | None = None) -> None:
        message = xds.DiscoveryRequest(
            version_info=self._accepted,
            node=self._node,
            resource_names=self.names,
            type_url=SECRET_TYPE,
            response_nonce=self._nonce,
        )
        if error is not None:
            message.error_detail.code = REJECTED
            message.error_detail.message = error
        await self.send(message)

    async def _take(self, response: xds.DiscoveryResponse) -> None:
        assert response.type_url == SECRET_TYPE, "Envoy drops a response without its type"
        assert response.version_info and response.nonce, "a version and a nonce are mandatory"
        assert len(response.resources) == 1, "one bad secret must not block another: one a response"
        self._nonce = response.nonce
        secret = self.unpack(response.resources[0])
        self.received.append((secret.name, response.version_info))
        error = self._judge(secret)
        if error is None:
            self._accepted = response.version_info
            if secret.name in self.names:
                self.keep(secret, response.version_info)
        await self.request(error)


class EnvoyDelta(Client):
    """Envoy on DeltaSecrets or ADS: names once, versions per secret, removals that it notes but does not act on."""

    METHODS: ClassVar = {False: f"{SDS}DeltaSecrets", True: f"{ADS}DeltaAggregatedResources"}
    REQUEST: ClassVar = xds.DeltaDiscoveryRequest
    RESPONSE: ClassVar = xds.DeltaDiscoveryResponse

    def __init__(self, channel: grpc.aio.Channel, names: Sequence[str] = (), **options: Any) -> None:
        super().__init__(channel, **options)
        self.names = list(names)
        self.removed: set[str] = set()

    async def connect(self) -> Self:
        """Open and subscribe; after a reconnect with the versions that are held."""
        await super().connect()
        if self.names:
            first = xds.DeltaDiscoveryRequest(
                node=self._node,
                type_url=SECRET_TYPE,
                resource_names_subscribe=self.names,
                initial_resource_versions=self.versions,
            )
            await self.send(first)
        return self

    async def change(self, subscribe: Sequence[str] = (), unsubscribe: Sequence[str] = ()) -> None:
        self.names = [*(name for name in self.names if name not in unsubscribe), *subscribe]
        for name in unsubscribe:
            self.versions.pop(name, None)
        message = xds.DeltaDiscoveryRequest(
            type_url=SECRET_TYPE, resource_names_subscribe=subscribe, resource_names_unsubscribe=unsubscribe
        )
        await self.send(message)

    async def _take(self, response: xds.DeltaDiscoveryResponse) -> None:
        assert response.type_url == SECRET_TYPE
        assert response.nonce, "the nonce is mandatory"
        names = [resource.name for resource in response.resources]
        assert len(set(names)) == len(names) <= 1, "one secret a response"
        answer = xds.DeltaDiscoveryRequest(type_url=SECRET_TYPE, response_nonce=response.nonce)
        for resource in response.resources:
            secret = self.unpack(resource.resource)
            assert secret.name == resource.name and resource.version, "a name and a version for each resource"
            self.received.append((secret.name, resource.version))
            error = self._judge(secret)
            if error is None:
                self.keep(secret, resource.version)
                self.removed.discard(secret.name)
            else:
                answer.error_detail.code = REJECTED
                answer.error_detail.message = error
        for name in response.removed_resources:
            self.received.append((name, ""))
            self.removed.add(name)
            self.versions.pop(name, None)
        await self.send(answer)


class Mosn(Client):
    """MOSN 1.6: a request for each secret alone with an empty nonce; every response is ACKed with all names received so
    far on this stream; never a NACK; after a reconnect it asks for nothing and takes what comes.
    """

    METHODS: ClassVar = {False: f"{SDS}StreamSecrets"}
    REQUEST: ClassVar = xds.DiscoveryRequest
    RESPONSE: ClassVar = xds.DiscoveryResponse

    def __init__(self, channel: grpc.aio.Channel, **options: Any) -> None:
        super().__init__(channel, identity=options.pop("identity", Node()), **options)
        self._fetch = channel.unary_unary(
            f"{SDS}FetchSecrets",
            request_serializer=xds.DiscoveryRequest.SerializeToString,
            response_deserializer=xds.DiscoveryResponse.FromString,
        )
        self._seen: set[str] = set()

    async def connect(self) -> Self:
        """Open and stay silent: nothing is asked for again."""
        self._seen = set()
        await super().connect()
        return self

    async def require(self, name: str) -> None:
        """RequireSecret: a request with this name only."""
        await self.send(xds.DiscoveryRequest(node=self._node, resource_names=[name], type_url=SECRET_TYPE))

    async def fetch(self, name: str) -> Secret:
        """FetchSecrets: names and node ID, no type. Raises grpc.aio.AioRpcError."""
        response = await self._fetch(xds.DiscoveryRequest(node=Node(id=self._node.id), resource_names=[name]))
        assert len(response.resources) == 1, "MOSN panics on none and gives up on several"
        return self._parse(response.resources[0])

    async def _take(self, response: xds.DiscoveryResponse) -> None:
        for packed in response.resources:
            secret = self._parse(packed)
            self.received.append((secret.name, response.version_info))
            self._seen.add(secret.name)
            self.keep(secret, response.version_info)
        ack = xds.DiscoveryRequest(
            node=self._node,
            version_info=response.version_info,
            response_nonce=response.nonce,
            type_url=response.type_url,
            resource_names=self._seen,
        )
        await self.send(ack)

    def _parse(self, packed: Any) -> Secret:
        """Where MOSN's type assertions would panic."""
        secret = self.unpack(packed)
        kind = secret.WhichOneof("type")
        if kind == "tls_certificate":
            assert secret.tls_certificate.certificate_chain.inline_bytes, "MOSN reads inline_bytes only"
            assert secret.tls_certificate.private_key.inline_bytes, "MOSN reads inline_bytes only"
        elif kind == "validation_context":
            assert secret.validation_context.trusted_ca.inline_bytes, "MOSN needs a plain CA as inline_bytes"
        return secret
