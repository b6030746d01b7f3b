"""A real server in this process, on loopback, and real clients: what an agent could do, and what it should not."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx

from attestation.spiffe_id import TrustDomain
from ca.bundle import parse_pem, to_pem
from ca.csr import build_csr
from ca.keys import KeyType, PrivateKey, generate, to_pkcs8_pem
from ca.svid import X509Svid, parse_svid
from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc
from sds.clock import SystemClock
from sds.config import load_server_config
from sds.server.datadir import DataDir
from sds.server.server import Server
from sds.server.wiring.build import build

TD = TrustDomain("example.org")
AGENT = "spiffe://example.org/sds/agent/test/1"
OTHER_AGENT = "spiffe://example.org/sds/agent/test/2"
DEADLINE = 60.0
SERVER_DNS = "server.sds.internal"


class MovedClock(SystemClock):
    """The real time, moved by a test: TLS looks at the host's clock, the server at this one."""

    __slots__ = ("offset", "stopped_at")

    def __init__(self) -> None:
        self.offset = timedelta(0)
        self.stopped_at: float | None = None

    def now(self) -> datetime:
        return super().now() + self.offset

    def monotonic(self) -> float:
        return super().monotonic() if self.stopped_at is None else self.stopped_at

    def stop(self) -> None:
        """From now on no rate refills and nothing that is remembered for a while is forgotten, however long it takes."""
        self.stopped_at = self.monotonic()


def agent_path(spiffe_id: str) -> str:
    return f"/v1/agents/{quote(spiffe_id, safe='')}"


def csr(key: PrivateKey | None = None) -> bytes:
    return build_csr(key or generate(KeyType.ECDSA_P256))


@dataclass(frozen=True)
class Identity:
    """What a client shows in TLS."""

    key: PrivateKey
    svid: X509Svid


@dataclass
class Node:
    """A running server and how to reach it."""

    folder: Path
    clock: MovedClock
    server: Server
    admin: httpx.AsyncClient
    stop_event: asyncio.Event = field(default_factory=asyncio.Event)
    channels: list[grpc.aio.Channel] = field(default_factory=list)
    identities: dict[str, Identity] = field(default_factory=dict)
    roots: bytes = b""

    # Clients

    def target(self, name: str) -> str:
        return str(self.server.addresses[name])

    def channel(
        self, identity: Identity | None = None, *, name: str = "", dns: str = SERVER_DNS, **more: int
    ) -> grpc.aio.Channel:
        """A connection of its own: mTLS with an identity, else only the server shows a certificate."""
        if identity is None:
            credentials = grpc.ssl_channel_credentials(self.roots)
        else:
            credentials = grpc.ssl_channel_credentials(
                self.roots, to_pkcs8_pem(identity.key).reveal(), identity.svid.pem()
            )
        options = [
            ("grpc.ssl_target_name_override", dns),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            *((option.replace("__", "."), value) for option, value in more.items()),
        ]
        target = self.target(name or ("attest" if identity is None else "main"))
        channel = grpc.aio.secure_channel(target, credentials, options)
        self.channels.append(channel)
        return channel

    def node(self, identity: Identity) -> node_pb2_grpc.NodeStub:
        return node_pb2_grpc.NodeStub(self.channel(identity))

    def attestation(self) -> node_pb2_grpc.NodeAttestationStub:
        return node_pb2_grpc.NodeAttestationStub(self.channel())

    # What administrators do

    async def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = await self.admin.request(method, path, json=body)
        assert response.status_code < 300, response.text
        return dict(response.json())

    async def token(self, spiffe_id: str | None = AGENT, ttl: float = 60) -> str:
        body = {"ttl_seconds": ttl, **({"spiffe_id": spiffe_id} if spiffe_id else {})}
        return str((await self.api("POST", "/v1/tokens", body))["token"])

    async def entry(self, path: str = "/web", parent: str = AGENT, **more: Any) -> dict[str, Any]:
        body = {
            "spiffe_id": f"spiffe://example.org{path}",
            "parent_id": parent,
            "selectors": ["unix:uid:1000"],
            **more,
        }
        return await self.api("POST", "/v1/entries", body)

    async def events(self, action: str, **query: Any) -> list[dict[str, Any]]:
        """The audit log's newest events of this action, oldest first."""
        response = await self.admin.get("/v1/audit", params={"action": action, "limit": 1000, **query})
        assert response.status_code == 200, response.text
        return list(response.json()["events"])

    async def metric(self, name: str, **labels: str) -> float:
        text = (await self.admin.get("/metrics")).text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for line in text.splitlines():
            if (line.startswith((name + "{", name + " "))) and all(label in line for label in wanted):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    # What agents do

    async def attest_request(self, token: str | None = None, *, key: PrivateKey | None = None) -> Any:
        payload = (token if token is not None else await self.token()).encode()
        request = node_pb2.AttestRequest(type="join_token", payload=payload, csr=csr(key))
        return await self.attestation().Attest(request, timeout=DEADLINE)

    async def attest(self, spiffe_id: str = AGENT) -> Identity:
        key = generate(KeyType.ECDSA_P256)
        answer = await self.attest_request(await self.token(spiffe_id), key=key)
        identity = Identity(key, parse_svid(tuple(answer.svid.certificate_chain)))
        assert str(identity.svid.spiffe_id) == spiffe_id
        self.identities[spiffe_id] = identity
        return identity

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()
        await self.admin.aclose()
        await self.server.stop()


@asynccontextmanager
async def running(folder: Path | None = None, clock: MovedClock | None = None, **settings: Any) -> AsyncIterator[Node]:
    """A server with these configuration keys (dots as double underscores)."""
    made = folder is None
    folder = folder or Path(tempfile.mkdtemp(prefix="sds-n-"))
    clock = clock or MovedClock()
    flags = {
        "trust_domain": "example.org",
        "data_dir": str(folder / "s"),
        "listen": "127.0.0.1:0",
        "attest_listen": "127.0.0.1:0",
        "grpc.drain_timeout": "2s",
        "limits.attest_burst": "1000",
        "database.busy_timeout": "500ms",
        "database.poll_interval": "100ms",
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    config = load_server_config(None, {}, flags)
    server = await build(config, clock, DataDir(config.data_dir))
    await server.start()
    transport = httpx.AsyncHTTPTransport(uds=str(config.admin_socket))
    node = Node(folder, clock, server, httpx.AsyncClient(transport=transport, base_url="http://sds", timeout=DEADLINE))
    try:
        node.roots = (await node.admin.get("/v1/bundle", params={"format": "pem"})).content
        parse_pem(TD, node.roots)
        yield node
    finally:
        await node.close()
        if made:
            shutil.rmtree(folder, ignore_errors=True)


async def next_message(stream: Any, seconds: float = DEADLINE) -> Any:
    async with asyncio.timeout(seconds):
        return await stream.read()


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call that must fail ended."""
    try:
        async with asyncio.timeout(DEADLINE):
            await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("the call was expected to fail")


def bundle_pem(bundle: node_pb2.Bundle) -> bytes:
    return b"".join(to_pem(der) for der in bundle.x509_authorities)
