"""Connections to the server: TLS that demands its reserved name, and one table from gRPC statuses to our errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from attestation.entry import RESERVED_DNS
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.errors import (
    AgentError,
    AgentRefused,
    AttestationFailed,
    CredentialExpired,
    InvalidAnswer,
    ServerUnreachable,
    ServerUntrusted,
)
from sds.agent.identity import AgentIdentity

SERVER_NAME = f"server.{RESERVED_DNS}"
"""Only the server's own SVID may carry this DNS name, so demanding it keeps workloads from posing as the server."""
MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a snapshot of 100,000 entries

_NODE = "/sds.node.v1.Node/"
_ATTEST = "/sds.node.v1.NodeAttestation/Attest"
_HUNG_UP = ("Socket closed", "Connection reset by peer", "Broken pipe", "ndpoint closing")
_UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How patient to be with the server."""

    connect_timeout: timedelta = timedelta(seconds=10)
    call_timeout: timedelta = timedelta(seconds=30)
    keepalive: timedelta = timedelta(seconds=20)
    keepalive_timeout: timedelta = timedelta(seconds=10)


class NodeLink:
    """One mTLS connection as `identity`. Methods raise AgentError.

    It lives as long as the connection: there is no reconnecting inside, so that only our own back-off decides when the
    server is asked again.
    """

    def __init__(self, address: str, identity: AgentIdentity, options: LinkOptions) -> None:
        self.identity = identity
        self._call_timeout = options.call_timeout.total_seconds()
        credentials = grpc.ssl_channel_credentials(
            identity.bundle.pem(), identity.private_key_pem.reveal(), identity.svid.pem()
        )
        self._channel = grpc.aio.secure_channel(address, credentials, _channel_options(options))

    async def renew(self, csr: bytes) -> node_pb2.RenewResponse:
        return await self._unary("Renew", node_pb2.RenewRequest(csr=csr), node_pb2.RenewResponse)

    async def sign(self, request: node_pb2.SignX509SvidsRequest) -> node_pb2.SignX509SvidsResponse:
        return await self._unary("SignX509Svids", request, node_pb2.SignX509SvidsResponse)

    async def sign_jwt(self, request: node_pb2.SignJwtSvidsRequest) -> node_pb2.SignJwtSvidsResponse:
        return await self._unary("SignJwtSvids", request, node_pb2.SignJwtSvidsResponse)

    async def sign_intermediate(self, request: node_pb2.SignIntermediateRequest) -> node_pb2.SignIntermediateResponse:
        return await self._unary("SignIntermediate", request, node_pb2.SignIntermediateResponse)

    async def staples(self, request: node_pb2.OcspStaplesRequest) -> node_pb2.OcspStaplesResponse:
        return await self._unary("OcspStaples", request, node_pb2.OcspStaplesResponse)

    async def report(self, request: node_pb2.ReportDeliveryRequest) -> node_pb2.ReportDeliveryResponse:
        return await self._unary("ReportDelivery", request, node_pb2.ReportDeliveryResponse)

    async def watch(
        self, request: node_pb2.WatchAuthorizedRequest
    ) -> AsyncGenerator[node_pb2.WatchAuthorizedResponse, None]:
        """Until the connection ends, which raises."""
        method: grpc.aio.UnaryStreamMultiCallable[Message, bytes] = self._channel.unary_stream(
            _NODE + "WatchAuthorized", request_serializer=_bytes
        )
        call = method(request)
        try:
            while True:
                raw: object = await call.read()
                if not isinstance(raw, bytes):
                    break
                yield _parse(node_pb2.WatchAuthorizedResponse, raw)
            code, details = await call.code(), await call.details()
        except grpc.aio.AioRpcError as error:
            raise translate(error.code(), error.details() or "") from None
        finally:
            call.cancel()
        raise translate(code, details) if code is not grpc.StatusCode.OK else ServerUnreachable("the server hung up")

    def watch_secrets(self) -> SecretsCall:
        """Opens at once, whether or not the server answers."""
        method: grpc.aio.StreamStreamMultiCallable[Message, bytes] = self._channel.stream_stream(
            _NODE + "WatchSecrets", request_serializer=_bytes
        )
        try:
            return SecretsCall(method())
        except grpc.aio.UsageError:
            raise ServerUnreachable("the connection is closed") from None

    async def close(self, grace: float | None = None) -> None:
        """Let running calls end for `grace` seconds, then cut them."""
        await self._channel.close(grace)

    async def _unary(self, method: str, request: Message, answer: type[M]) -> M:
        call: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = self._channel.unary_unary(
            _NODE + method, request_serializer=_bytes
        )
        try:
            return await _answer(call(request, timeout=self._call_timeout), answer)
        except grpc.aio.UsageError:  # it was closed between the look at it and the call
            raise ServerUnreachable("the connection is closed") from None


class SecretsCall:
    """One WatchSecrets stream. Methods raise AgentError once it has ended, also because the connection was closed."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Message, bytes]) -> None:
        self._call = call

    async def send(self, request: node_pb2.WatchSecretsRequest) -> None:
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise translate(error.code(), error.details() or "") from None
        except (asyncio.InvalidStateError, asyncio.CancelledError):
            await self._raise_end()

    async def receive(self) -> node_pb2.WatchSecretsResponse:
        try:
            raw: object = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise translate(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            raw = None
        if not isinstance(raw, bytes):
            await self._raise_end()
        return _parse(node_pb2.WatchSecretsResponse, raw)

    async def _raise_end(self) -> NoReturn:
        """When a call ends here gRPC cancels whoever reads: that is told apart from being cancelled ourselves."""
        if not self._call.done():
            raise asyncio.CancelledError
        code, details = await self._call.code(), await self._call.details()
        if code in {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}:
            raise ServerUnreachable("the server hung up")
        raise translate(code, details or "")

    def cancel(self) -> None:
        """End it; whoever reads is told."""
        self._call.cancel()


async def attest(
    address: str, roots_pem: bytes, request: node_pb2.AttestRequest, options: LinkOptions
) -> node_pb2.AttestResponse:
    """Ask for the first SVID, over server TLS alone. Raises AgentError."""
    credentials = grpc.ssl_channel_credentials(roots_pem)
    async with grpc.aio.secure_channel(address, credentials, _channel_options(options)) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = channel.unary_unary(_ATTEST, request_serializer=_bytes)
        try:
            return await _answer(call(request, timeout=options.call_timeout.total_seconds()), node_pb2.AttestResponse)
        except (CredentialExpired, AgentRefused) as error:
            raise AttestationFailed(str(error)) from None
        except ServerUnreachable as error:
            if any(sign in str(error) for sign in _HUNG_UP):
                raise ServerUnreachable(
                    f"{error}; is {address} the server's --attest-listen address? On its other port it hangs up on "
                    "agents that have no SVID yet"
                ) from None
            raise


def translate(code: grpc.StatusCode, details: str) -> AgentError:
    """What a status means for an agent."""
    text = details or code.name
    match code:
        case grpc.StatusCode.UNAVAILABLE if any(sign in details for sign in _UNTRUSTED):
            return ServerUntrusted(
                "the server's certificate does not verify against the trust bundle, or it is not the server's; "
                "compare with `sds bundle show`; if this agent was away while its authorities were replaced, or the "
                "server was made anew, start with an empty data folder, a bundle file of now and a new token "
                f"({text})"
            )
        case grpc.StatusCode.UNAUTHENTICATED:
            return CredentialExpired(text)
        case grpc.StatusCode.PERMISSION_DENIED:
            return AgentRefused(text)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.UNIMPLEMENTED | grpc.StatusCode.OUT_OF_RANGE:
            return InvalidAnswer(f"the server does not understand this agent: {text}")
        case _:
            return ServerUnreachable(text)


async def _answer(call: Awaitable[bytes], kind: type[M]) -> M:
    try:
        raw = await call
    except grpc.aio.AioRpcError as error:
        raise translate(error.code(), error.details() or "") from None
    except asyncio.CancelledError:  # what gRPC raises, too, for calls that are under way when their channel is closed
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ServerUnreachable("the connection was closed") from None
    return _parse(kind, raw)


def _parse(kind: type[M], raw: bytes) -> M:
    message = kind()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise InvalidAnswer(f"the server's answer is not a {kind.DESCRIPTOR.full_name} message") from None
    return message


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _channel_options(options: LinkOptions) -> list[tuple[str, object]]:
    return [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),  # a new channel shakes hands anew, with its own credentials
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", round(options.keepalive.total_seconds() * 1000)),
        ("grpc.keepalive_timeout_ms", round(options.keepalive_timeout.total_seconds() * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", round(options.connect_timeout.total_seconds() * 1000)),
        ("grpc.min_reconnect_backoff_ms", round(options.connect_timeout.total_seconds() * 1000)),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]
