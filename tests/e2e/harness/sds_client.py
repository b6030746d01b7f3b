"""SDS clients in the test process (tests/fakes), on the agent's public socket. The agent knows them as this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from cryptography import x509
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from tests.fakes.sds_clients import Mosn


@dataclass(frozen=True, slots=True)
class Svid:
    chain_pem: bytes
    key_pem: bytes

    @property
    def chain(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(self.chain_pem)


def svid_of(secret: Secret) -> Svid:
    tls = secret.tls_certificate
    return Svid(tls.certificate_chain.inline_bytes, tls.private_key.inline_bytes)


def channel(socket: Path) -> grpc.aio.Channel:
    """A connection of its own: grpc shares one between channels with the same arguments otherwise."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)])


async def fetch(socket: Path, name: str) -> Secret:
    """FetchSecrets, as MOSN calls it; raises grpc.aio.AioRpcError."""
    async with channel(socket) as connection:
        return await Mosn(connection).fetch(name)


@asynccontextmanager
async def mosn(socket: Path, *names: str) -> AsyncIterator[Mosn]:
    """A stream of a client with MOSN's habits that asks for `names`, each alone; without names it stays silent."""
    async with channel(socket) as connection:
        await connection.channel_ready()
        async with Mosn(connection) as client:
            for name in names:
                await client.require(name)
            yield client
