"""A real server whose admin API listens on the network, and real clients of it."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ca.keys import KeyType, generate, to_pkcs8_pem
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.demo.ports import free_ports
from tests.contract.node.harness import AGENT, Identity, Node, csr, running
from tests.contract.public.pki import WebPki

SESSION = "__Host-sds-session"


@dataclass
class World:
    node: Node
    folder: Path
    port: int
    pki: WebPki
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, token: str = "", identity: Identity | None = None, **headers: str) -> httpx.AsyncClient:
        """One that keeps no cookies of its own accord but those of its answers."""
        tls = self.pki.client()
        if identity is not None:
            load(tls, identity, self.folder)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        made = httpx.AsyncClient(base_url=self.url, verify=tls, trust_env=False, timeout=60, headers=headers)
        self.clients.append(made)
        return made

    async def token(self, role: str = "admin", **more: Any) -> str:
        body = {"name": role, "role": role, **more}
        return str((await self.node.api("POST", "/v1/access/tokens", body))["token"])

    async def bind(self, subject: str, role: str, **more: Any) -> str:
        body = {"subject": subject, "role": role, **more}
        return str((await self.node.api("POST", "/v1/access/bindings", body))["id"])

    async def session(self, token: str) -> httpx.AsyncClient:
        """Logged in as a browser is."""
        client = self.client(Origin=self.url)
        answer = await client.post("/login", data={"token": token, "next": "/entries"})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == "/entries", answer.headers
        return client


def load(tls: ssl.SSLContext, identity: Identity, folder: Path) -> None:
    """Show this SVID."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(to_pkcs8_pem(identity.key).reveal() + identity.svid.pem())
        file.flush()
        tls.load_cert_chain(file.name)


@asynccontextmanager
async def serving(folder: Path, port: int = 0, **settings: Any) -> AsyncIterator[World]:
    pki = WebPki()
    cert_file, key_file = map(str, pki.issue().write(folder))
    port = port or free_ports(1)[0]
    async with running(
        admin__listen=f"127.0.0.1:{port}",
        admin__cert_file=cert_file,
        admin__key_file=key_file,
        admin__hosts="localhost",
        **settings,
    ) as node:
        world = World(node, folder, port, pki)
        try:
            yield world
        finally:
            for client in world.clients:
                await client.aclose()


async def svid(world: World, path: str) -> Identity:
    agent = world.node.identities.get(AGENT) or await world.node.attest()
    entry = await world.node.entry(path)
    key = generate(KeyType.ECDSA_P256)
    item = node_pb2.SignItem(entry_id=entry["id"], csr=csr(key))
    async with asyncio.timeout(30):
        while True:
            request = node_pb2.SignX509SvidsRequest(items=[item])
            (result,) = (await world.node.node(agent).SignX509Svids(request)).results
            if result.svid.certificate_chain:
                return Identity(key, parse_svid(tuple(result.svid.certificate_chain)))
            await asyncio.sleep(0.05)


__all__ = ["AGENT", "SESSION", "World", "load", "serving", "svid"]
