"""One client that holds a certificate of its own and connects again and again, and the secrets that it has from SDS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import time
from pathlib import Path

import grpc.aio
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import discovery_pb2

from sds.demo.ports import LOOPBACK

_FETCH = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets"
_REQUEST = b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
_TIMEOUT = 5.0


async def fetch(path: Path, name: str) -> Secret:
    """One secret over the agent's socket."""
    async with grpc.aio.insecure_channel(f"unix:{path}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(
            _FETCH,
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        answer = await call(discovery_pb2.DiscoveryRequest(resource_names=[name]), timeout=_TIMEOUT)
    secret = Secret()
    answer.resources[0].Unpack(secret)
    return secret


class Client:
    """Shows one certificate; every connection is a full handshake of TLS 1.3 and one request."""

    def __init__(self, certificate: Secret, bundle: Secret) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.load_verify_locations(cadata=bundle.validation_context.trusted_ca.inline_bytes.decode())
        held = certificate.tls_certificate
        with tempfile.NamedTemporaryFile() as file:
            file.write(held.certificate_chain.inline_bytes + held.private_key.inline_bytes)
            file.flush()
            self._tls.load_cert_chain(file.name)

    def served(self, port: int) -> bool:
        """One new connection. With TLS 1.3 a client learns from the first answer that it was refused."""
        try:
            with (
                socket.create_connection((LOOPBACK, port), timeout=_TIMEOUT) as raw,
                self._tls.wrap_socket(raw) as tls,
            ):
                tls.sendall(_REQUEST)
                return tls.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    async def refused_at(self, port: int, within: float) -> float:
        """Connect until it is refused; when that was known (monotonic seconds). Raises TimeoutError."""

        def hammer() -> float:
            until = time.monotonic() + within
            while self.served(port):
                if time.monotonic() > until:
                    raise TimeoutError("it is still accepted")
            return time.monotonic()

        return await asyncio.to_thread(hammer)
