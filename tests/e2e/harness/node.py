"""An agent of the tests' own, which speaks the node protocol and holds its key; it may misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from attestation.entry import RESERVED_DNS
from ca.csr import build_csr
from ca.keys import KeyType, generate, to_pkcs8_pem
from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc
from sds.demo.ports import LOOPBACK
from tests.e2e.harness.world import World

_SERVER_NAME = (("grpc.ssl_target_name_override", f"server.{RESERVED_DNS}"),)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client certificate for the node API."""

    spiffe_id: str
    chain_pem: bytes
    key_pem: bytes


def new_csr() -> tuple[bytes, bytes]:
    """A key (PKCS #8 PEM) and a CSR for it (DER)."""
    key = generate(KeyType("ecdsa-p256"))
    return to_pkcs8_pem(key).reveal(), build_csr(key)


async def join(world: World, *flags: str) -> Credentials:
    """Attest with a fresh join token."""
    token = (await world.cli("token", "create", "--ttl", "5m", *flags)).json["token"]
    key, csr = new_csr()
    roots = (world.folder / "bundle.pem").read_bytes()
    tls = grpc.ssl_channel_credentials(roots)
    async with grpc.aio.secure_channel(f"{LOOPBACK}:{world.stack.ports[1]}", tls, _SERVER_NAME) as channel:
        stub = node_pb2_grpc.NodeAttestationStub(channel)
        answer = await stub.Attest(
            node_pb2.AttestRequest(type="join_token", payload=token.encode(), csr=csr), timeout=10
        )
    chain = b"".join(load_der_x509_certificate(c).public_bytes(Encoding.PEM) for c in answer.svid.certificate_chain)
    return Credentials(answer.svid.spiffe_id, chain, key)


@asynccontextmanager
async def node_api(
    world: World, who: Credentials, options: Sequence[tuple[str, Any]] = ()
) -> AsyncIterator[node_pb2_grpc.NodeStub]:
    """The node API as `who`, over a connection with these channel options."""
    roots = (world.folder / "bundle.pem").read_bytes()
    tls = grpc.ssl_channel_credentials(roots, who.key_pem, who.chain_pem)
    async with grpc.aio.secure_channel(f"{LOOPBACK}:{world.stack.ports[0]}", tls, (*_SERVER_NAME, *options)) as channel:
        yield node_pb2_grpc.NodeStub(channel)
